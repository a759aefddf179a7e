# The program beside its libraries and manifests, as it lies in a repository: mixprec looks for runs/libraries above
# itself, and checks the bytes that it finds there.
{
  pkgs,
  program,
  libraries,
}:
pkgs.stdenvNoCC.mkDerivation {
  pname = "mixprec";
  inherit (program) version;
  dontUnpack = true;
  # The program is ready, the libraries stay as they were shipped.
  dontFixup = true;
  nativeBuildInputs = [ pkgs.makeWrapper ];
  # A copy and no link: the folder above a link's target would be the program's own, without libraries.
  installPhase = ''
    install -D ${program}/bin/mixprec $out/libexec/mixprec
    mkdir -p $out/runs/libraries $out/share/mixprec
    ln -s ${libraries}/runs/libraries/* ${program}/runs/libraries/* $out/runs/libraries/
    cp -r ${../experiments} $out/share/mixprec/experiments
    makeWrapper $out/libexec/mixprec $out/bin/mixprec --run ${pkgs.lib.escapeShellArg ". ${./driver.sh}"}
  '';
  meta = {
    inherit (program.meta) description license platforms;
    mainProgram = "mixprec";
  };
}
