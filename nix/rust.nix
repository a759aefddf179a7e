# What is made of the Rust sources: the program, the checks, the shell to work in.
{
  lib,
  pkgs,
  self,
}:
let
  package = (lib.importTOML ../Cargo.toml).package;

  # What goes into the binary, the list of build.rs, what the sources include, and the script that compiles the shim:
  # nothing else makes it compile again.
  sources = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../build.rs
      ../flake.lock
      ../src
      ../container/pins.sha256
      ../container/setup.sh
      ../container/wheels.json
      ../experiments/claims.yaml
      ../paper/fonts
      ../paper/templates
    ];
  };

  # The binding generator of TensorRT takes no libclang from LLVM 22 on, so the version is named. The flags are those
  # that nixpkgs' bindgenHook takes from its own clang.
  llvm = pkgs.llvmPackages_21;
  libclang = ''
    export LIBCLANG_PATH=${lib.getLib llvm.libclang}/lib
    BINDGEN_EXTRA_CLANG_ARGS="$(< ${llvm.clang}/nix-support/cc-cflags)"
    BINDGEN_EXTRA_CLANG_ARGS+=" $(< ${llvm.clang}/nix-support/libc-cflags)"
    BINDGEN_EXTRA_CLANG_ARGS+=" $(< ${llvm.clang}/nix-support/libcxx-cxxflags) ''${NIX_CFLAGS_COMPILE:-}"
    export BINDGEN_EXTRA_CLANG_ARGS
  '';

  # build.rs finds no repository in the store; the flake knows the commit.
  commit =
    if self ? rev then
      {
        MIXPREC_GIT_COMMIT = self.rev;
        MIXPREC_GIT_DIRTY = "false";
      }
    else if self ? dirtyRev then
      {
        MIXPREC_GIT_COMMIT = lib.removeSuffix "-dirty" self.dirtyRev;
        MIXPREC_GIT_DIRTY = "true";
      }
    else
      { };

  # For the tests that compare with other programs.
  python = pkgs.python3.withPackages (packages: [
    packages.numpy
    packages.onnx
    packages.pip
    packages.pyarrow
    packages.safetensors
  ]);

  build =
    attributes:
    pkgs.rustPlatform.buildRustPackage (
      {
        inherit (package) version;
        src = sources;
        cargoLock.lockFile = ../Cargo.lock;
        preConfigure = libclang;
        doCheck = false;
      }
      // attributes
    );

  # A check keeps nothing but the fact that it passed.
  check =
    name: inputs: commands:
    build {
      pname = "mixprec-${name}";
      src = self;
      nativeBuildInputs = inputs;
      buildPhase = ''
        export HOME=$TMPDIR
        ${commands}
      '';
      installPhase = "touch $out";
      dontFixup = true;
    };
in
{
  program = build {
    pname = "mixprec-program";
    env = commit;
    # For libcuda and libnvidia-ml of NixOS, which are opened by name.
    nativeBuildInputs = [ pkgs.autoAddDriverRunpath ];
    # The shim of TensorRT 11, against the headers of a pinned crate. The library itself is the user's.
    postInstall = ''
      headers=$(find -L "$cargoDeps" -type d -name 'TRT-Enterprise-*' | tail -n 1)
      TENSORRT_INCLUDE_DIR=$headers bash container/setup.sh --tensorrt
      mkdir -p $out/runs
      cp -r runs/libraries $out/runs/libraries
    '';
    meta = {
      inherit (package) description;
      license = lib.licenses.asl20;
      mainProgram = "mixprec";
      platforms = [ "x86_64-linux" ];
    };
  };

  fmt = check "fmt" [ pkgs.rustfmt ] "cargo fmt --check";

  clippy = check "clippy" [
    pkgs.clippy
  ] "cargo clippy --release --locked --offline --all-targets -- -D warnings";

  # The tests that need Python, a GPU or data skip themselves and say so.
  tests = check "tests" [
    pkgs.git
    python
  ] "bash tests/summary.sh cargo test --release --locked --offline";

  shell = pkgs.mkShell {
    packages = [
      pkgs.cargo
      pkgs.rustc
      pkgs.clippy
      pkgs.rustfmt
      pkgs.git
      pkgs.shellcheck
      python
      # What the paper's PDF is made with; pdftoppm is for its tests.
      pkgs.poppler-utils
      (pkgs.texliveSmall.withPackages (tex: [
        tex.adjustbox
        tex.latexmk
        tex.needspace
        tex.placeins
        tex.threeparttable
      ]))
    ];
    shellHook = ''
      ${libclang}
      . ${./driver.sh}
    '';
  };
}
