# The same image as container/Containerfile's in content, made of Nix packages: `$(nix build --print-out-paths .#image) |
# podman load`. It holds NVIDIA's libraries: load it where it was built, do not publish it.
{
  lib,
  mixprec,
  pkgs,
  self,
}:
pkgs.dockerTools.streamLayeredImage {
  name = "mixprec";
  tag = mixprec.version;
  contents = [ mixprec ];
  # Manifests and licence lie where the other image has them, so that the same commands run in both. No links: what a manifest
  # names beside its folder would be looked for beside the link's target.
  fakeRootCommands = ''
    install -d -m 1777 -o 10001 -g 10001 ./work
    install -d -m 1777 ./tmp
    install -d ./opt/mixprec
    cp -r ${../experiments} ./opt/mixprec/experiments
    cp ${../LICENSE} ./opt/mixprec/LICENSE
  '';
  config = {
    Entrypoint = [ (lib.getExe mixprec) ];
    Cmd = [ "doctor" ];
    User = "10001:10001";
    WorkingDir = "/work";
    Env = [
      "HOME=/work"
      # What NVIDIA's container runtime reads: all GPUs, CUDA and NVML, and no start on a driver too old for CUDA 13.
      "NVIDIA_VISIBLE_DEVICES=all"
      "NVIDIA_DRIVER_CAPABILITIES=compute,utility"
      "NVIDIA_REQUIRE_CUDA=cuda>=13.0"
      # Where that runtime puts the driver's libraries; programs of Nix do not read the loader's cache.
      "LD_LIBRARY_PATH=/usr/lib64:/usr/lib/x86_64-linux-gnu"
    ];
    Labels = {
      "org.opencontainers.image.title" = "mixprec";
      "org.opencontainers.image.description" = mixprec.meta.description;
      "org.opencontainers.image.version" = mixprec.version;
      "org.opencontainers.image.licenses" = "Apache-2.0 AND MIT AND LicenseRef-NVIDIA";
    }
    # Changed files are no commit's.
    // lib.optionalAttrs (self ? rev) { "org.opencontainers.image.revision" = self.rev; };
  };
}
