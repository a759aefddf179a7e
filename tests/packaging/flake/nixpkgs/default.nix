# Packages and builders that the flake uses, under nixpkgs' names. Every argument of a builder goes into its
# derivation, so that evaluating one forces all of it: an attribute that nixpkgs does not have fails here as there.
{ system, config }:
let
  lib = import ./lib.nix;

  # nixpkgs refuses to evaluate an unfree package that the configuration does not allow.
  checkLicence =
    attributes:
    let
      licence = attributes.meta.license or [ ];
      licences = if builtins.isList licence then licence else [ licence ];
    in
    if builtins.all (one: one.free) licences || config.allowUnfreePredicate attributes then
      attributes
    else
      throw "${attributes.pname} is unfree and not allowed";

  derive =
    attributes:
    let
      checked = checkLicence attributes;
    in
    derivation {
      name = checked.name or "${checked.pname}-${checked.version}";
      inherit system;
      builder = "/bin/sh";
      everything = builtins.toJSON checked;
    }
    // builtins.removeAttrs attributes [ "name" ];

  package = pname: derive { inherit pname; version = "0"; };
  packages = names: builtins.listToAttrs (map (name: { inherit name; value = package name; }) names);

  # Crates with a checksum in the lock need no hash of their own; a git dependency would.
  checkLock =
    { lockFile }:
    let
      crates = (lib.importTOML lockFile).package;
      unpinned = builtins.filter (crate: crate ? source && !(crate ? checksum)) crates;
    in
    if unpinned == [ ] then
      lockFile
    else
      throw "cargoLock.outputHashes lacks ${(builtins.head unpinned).name}";
in
packages [
  "cargo"
  "clippy"
  "git"
  "makeWrapper"
  "poppler-utils"
  "rustc"
  "rustfmt"
  "shellcheck"
  "unzip"
  "autoAddDriverRunpath"
]
// {
  inherit lib;

  stdenvNoCC.mkDerivation = derive;
  mkShell = { packages, shellHook }@attributes: derive (attributes // { name = "nix-shell"; });

  llvmPackages_21 = {
    clang = package "clang-wrapper";
    libclang = package "clang" // { lib = package "clang-lib"; };
  };

  rustPlatform.buildRustPackage =
    { pname, version, src, cargoLock, ... }@attributes:
    derive (attributes // { cargoLock = checkLock cargoLock; });

  # A wheel at the address that nixpkgs makes of the same arguments, and with the same store path.
  fetchPypi =
    { pname, version, format, dist, python, abi, platform, sha256 }:
    assert format == "wheel";
    let
      file = "${pname}-${version}-${python}-${abi}-${platform}.whl";
    in
    derivation {
      name = file;
      inherit system;
      builder = "/bin/sh";
      path = "packages/${dist}/${builtins.substring 0 1 pname}/${pname}/${file}";
      outputHashMode = "flat";
      outputHashAlgo = "sha256";
      outputHash = sha256;
    };

  writeShellApplication =
    { name, runtimeInputs, text }@attributes:
    derive (attributes // { pname = name; });

  dockerTools.streamLayeredImage =
    { name, tag, contents, config, fakeRootCommands }:
    let
      checked =
        { Entrypoint, Cmd, User, WorkingDir, Env, Labels }@all:
        all;
    in
    derive {
      name = "stream-${name}";
      inherit tag contents fakeRootCommands;
      config = checked config;
    };

  python3.withPackages =
    choose: derive { name = "python3-env"; chosen = choose (packages [ "numpy" "onnx" "pip" "pyarrow" "safetensors" ]); };
  texliveSmall.withPackages =
    choose:
    derive {
      name = "texlive";
      chosen = choose (packages [ "adjustbox" "latexmk" "needspace" "placeins" "threeparttable" ]);
    };
}
