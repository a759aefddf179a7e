# A stand-in for nixpkgs, to evaluate the repository's flake without a network. It has only what the flake uses, under
# the names nixpkgs has it, and looks at everything: see default.nix.
{
  outputs = { self }: { lib = import ./lib.nix; };
}
