# The same image as container/Containerfile's in content, made of Nix packages: `$(nix build --print-out-paths .#image) |
# podman load`. It holds NVIDIA's libraries: load it where it was built, do not publish it.
{
  lib,
  mixprec,
  pkgs,
}:
pkgs.dockerTools.streamLayeredImage {
  name = "mixprec";
  tag = mixprec.version;
  contents = [ mixprec ];
  fakeRootCommands = ''
    install -d -m 1777 -o 10001 -g 10001 ./work
    install -d -m 1777 ./tmp
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
      "org.opencontainers.image.version" = mixprec.version;
      "org.opencontainers.image.licenses" = "Apache-2.0 AND MIT AND LicenseRef-NVIDIA";
    };
  };
}
