# The wheels of container/wheels.json: fetched by the digests there, unpacked as container/wheel.py does it.
{ lib, pkgs }:
let
  pins = (lib.importJSON ../container/wheels.json).wheels;

  # fetchPypi makes the address from what a wheel's file name says.
  fetch =
    wheel:
    let
      parts = lib.splitString "-" (lib.removeSuffix ".whl" wheel.file);
      part = builtins.elemAt parts;
    in
    pkgs.fetchPypi {
      pname = part 0;
      version = part 1;
      format = "wheel";
      dist = part 2;
      python = part 2;
      abi = part 3;
      platform = part 4;
      inherit (wheel) sha256;
    };

  files = lib.mapAttrs (_: fetch) pins;

  # The pinned files of one wheel into a folder, each checked against its own digest.
  unpack =
    key: folder:
    let
      wheel = pins.${key};
    in
    lib.concatMapStringsSep "\n" (name: ''
      mkdir -p ${folder}
      unzip -qj ${files.${key}} ${lib.escapeShellArg "${wheel.folder}/${name}"} -d ${folder}
      echo '${wheel.unpack.${name}.sha256}  '${folder}/${name} | sha256sum --check --quiet
    '') (lib.attrNames wheel.unpack);

  # Bytes as they were shipped: nothing is stripped or patched, so that digests still say what is loaded.
  unpacked =
    attributes:
    pkgs.stdenvNoCC.mkDerivation (
      {
        dontUnpack = true;
        dontFixup = true;
        preferLocalBuild = true;
        nativeBuildInputs = [ pkgs.unzip ];
      }
      // attributes
    );
in
{
  inherit files;

  # What the backends load, in the folders where mixprec looks for pinned files.
  libraries = unpacked {
    pname = "mixprec-libraries";
    version = pins.tensorrt-rtx.version;
    # NVIDIA's licences do not allow a binary cache to hand these on.
    allowSubstitutes = false;
    installPhase = lib.concatMapStringsSep "\n" (key: unpack key "$out/runs/libraries/${key}-${pins.${key}.version}") [
      "cublas"
      "cuda-nvrtc"
      "onnxruntime"
      "tensorrt-rtx"
    ];
    meta.license = [
      lib.licenses.mit
      lib.licenses.unfree
    ];
  };

  # The checkpoint of experiments/minilm.yaml.
  minilm = unpacked {
    pname = "mixprec-minilm";
    inherit (pins.minilm) version;
    installPhase = unpack "minilm" "$out";
    meta.license = lib.licenses.asl20;
  };
}
