# shellcheck shell=bash
# Sourced before mixprec starts: leads a program of Nix to the NVIDIA driver of its host.
#
# Such a program looks for libraries in its own packages and in LD_LIBRARY_PATH, not where the host's loader looks. On
# NixOS the driver is in /run/opengl-driver/lib. Elsewhere it lies among all other libraries of the host, which must not
# be mixed with those of Nix, so a folder of links to the driver's own few is made and named. Without a driver nothing
# changes. MIXPREC_DRIVER_FOLDERS names other folders to look in, with colons between them.

# The driver's libraries for computing, and what they open themselves.
mixprec_driver_files() {
    local name
    for name in "$1"/{libcuda.so.1,libnvidia-ml.so.1,libnvidia-ptxjitcompiler.so.1,libnvidia-nvvm.so.4} \
        "$1"/libnvidia-gpucomp.so.* "$1"/libdxcore.so; do
        if [ -e "$name" ]; then
            printf '%s\n' "$name"
        fi
    done
}

# The first folder of a list with colons that has the driver.
mixprec_driver_folder() {
    local folder folders
    IFS=: read -r -a folders <<<"$1"
    for folder in "${folders[@]}"; do
        if [ -n "$folder" ] && [ -e "$folder/libcuda.so.1" ]; then
            printf '%s\n' "$folder"
            return
        fi
    done
}

mixprec_find_driver() {
    local found links file
    # Said already, or put there by NVIDIA's container runtime.
    if [ -n "$(mixprec_driver_folder "${LD_LIBRARY_PATH:-}")" ]; then
        return
    fi
    found=$(mixprec_driver_folder "${MIXPREC_DRIVER_FOLDERS:-/run/opengl-driver/lib:/usr/lib/x86_64-linux-gnu:/usr/lib64:/usr/lib:/usr/lib/wsl/lib}")
    [ -n "$found" ] || return 0
    if [ "$found" = /run/opengl-driver/lib ]; then
        links=$found
    else
        links=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/mixprec/driver
        if ! mkdir -p "$links" 2>/dev/null; then
            printf 'mixprec: no folder can be made at %s for links to the driver: set XDG_CACHE_HOME\n' "$links" >&2
            return 0
        fi
        # Another start may be reading them, so they are replaced one by one.
        while read -r file; do
            ln -sf "$file" "$links/"
        done < <(mixprec_driver_files "$found")
        # A driver's update leaves links that lead nowhere.
        for file in "$links"/*; do
            [ -e "$file" ] || rm -f "$file"
        done
    fi
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$links"
}

mixprec_find_driver
unset -f mixprec_find_driver mixprec_driver_folder mixprec_driver_files
