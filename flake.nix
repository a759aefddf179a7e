# `nix build`, `nix run .#reproduce`, `nix develop`, `nix flake check`. container/README.md says what each needs.
#
# One input: nixpkgs brings Rust, libclang, Python and LaTeX. NVIDIA's libraries and ONNX Runtime come from
# container/wheels.json, the same bytes as everywhere else.
{
  description = "Re-measures the claims of a mixed-precision transformer inference paper on the reader's own hardware";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      # The wheels are for this system only.
      system = "x86_64-linux";
      lib = nixpkgs.lib;
      pkgs = import nixpkgs {
        inherit system;
        # NVIDIA's libraries, fetched by each user from NVIDIA's own wheels, and nothing else that is unfree.
        config.allowUnfreePredicate = package: lib.getName package == "mixprec-libraries";
      };
      rust = import ./nix/rust.nix { inherit lib pkgs self; };
      wheels = import ./nix/wheels.nix { inherit lib pkgs; };
      mixprec = import ./nix/mixprec.nix {
        inherit pkgs;
        inherit (rust) program;
        inherit (wheels) libraries;
      };
      reproduce = pkgs.writeShellApplication {
        name = "mixprec-reproduce";
        runtimeInputs = [ mixprec ];
        # Exit code 1 means that some rows failed or a claim does not hold here: a finding, and part of the report.
        text = ''
          mixprec run ${mixprec}/share/mixprec/experiments/quick.yaml --out runs/quick || test $? -eq 1
          mixprec report runs/quick
          mixprec verify runs/quick || test $? -eq 1
          echo 'open runs/quick/report/report.html'
        '';
      };
    in
    {
      packages.${system} = {
        default = mixprec;
        # Without the fetched libraries: the reference backend, and what LD_LIBRARY_PATH or the variables name.
        inherit (rust) program;
        inherit (wheels) libraries minilm;
        image = import ./nix/image.nix { inherit lib mixprec pkgs self; };
      };

      # Every pinned wheel by its name in container/wheels.json.
      legacyPackages.${system}.wheels = wheels.files;

      apps.${system} = {
        default = {
          type = "app";
          program = "${mixprec}/bin/mixprec";
          meta.description = "mixprec with the pinned libraries";
        };
        reproduce = {
          type = "app";
          program = "${reproduce}/bin/mixprec-reproduce";
          meta.description = "Run experiments/quick.yaml, report and verify";
        };
      };

      devShells.${system}.default = rust.shell;

      checks.${system} = {
        package = mixprec;
        inherit (rust) fmt clippy tests;
      };
    };
}
