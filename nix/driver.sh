# shellcheck shell=bash
# Sourced before mixprec starts: leads a program of Nix to the NVIDIA driver of its host.
#
# Such a program looks for libraries in its own packages and in LD_LIBRARY_PATH, not where the host's loader looks. On
# NixOS the driver is in /run/opengl-driver/lib. Elsewhere it lies among all other libraries of the host, which must not
# be mixed with those of Nix, so a folder of links to the driver's own few is made and named. Without a driver, or a
# folder for them, nothing changes. MIXPREC_DRIVER_FOLDERS names other folders to look in, with colons between them.

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

mixprec_say() { printf 'mixprec: no links to the driver in %s: %s\n' "$1" "$2" >&2; }

# Makes links to the driver's files in a folder of the user's and prints that folder; fails, and says why, where no such
# folder can be had. Whoever else can write to it could put a library into the program.
mixprec_link_driver() {
    local cache=${XDG_CACHE_HOME:-} links mode file name made=/ strange=
    [[ $cache == /* ]] || cache=${HOME:+$HOME/.cache}
    if [[ $cache != /* || $cache == *:* ]]; then
        mixprec_say "${cache:-a cache folder}" 'set HOME or XDG_CACHE_HOME to an absolute path without colons'
        return 1
    fi
    links=$cache/mixprec/driver
    (umask 077 && mkdir -p "$links") 2>/dev/null
    if [ -L "$links" ] || [ ! -d "$links" ]; then
        mixprec_say "$links" 'it cannot be made, or is no folder; set XDG_CACHE_HOME to another'
        return 1
    fi
    mode=$(stat -c %a "$links" 2>/dev/null)
    if [ ! -O "$links" ] || [[ ! $mode =~ ^[0-7]+$ ]] || (((8#$mode & 8#22) != 0)); then
        mixprec_say "$links" 'it must be your own, and nobody else may write to it; delete it'
        return 1
    fi
    # Another start may be reading them, so they are replaced one by one, and a right one is left alone.
    while read -r file; do
        name=${file##*/}
        if [ "$(readlink "$links/$name")" != "$file" ]; then
            [ -L "$links/$name" ] || rm -rf "${links:?}/$name"
            ln -sfT "$file" "$links/$name"
        fi
        if [ "$(readlink "$links/$name")" = "$file" ]; then made+=$name/; fi
    done < <(mixprec_driver_files "$1")
    # A driver's update leaves links that lead nowhere; whatever else is there would be loaded as well.
    for file in "$links"/* "$links"/.[!.]* "$links"/..?*; do
        if [ -e "$file" ] || [ -L "$file" ]; then
            [[ $made == */"${file##*/}"/* ]] || rm -rf "$file" || strange=$file
        fi
    done
    if [ -n "$strange" ] || [[ $made != */libcuda.so.1/* ]]; then
        mixprec_say "$links" 'its files could not be replaced'
        return 1
    fi
    printf '%s\n' "$links"
}

mixprec_find_driver() {
    local found links
    # Said already, or put there by NVIDIA's container runtime.
    if [ -n "$(mixprec_driver_folder "${LD_LIBRARY_PATH:-}")" ]; then
        return
    fi
    found=$(mixprec_driver_folder "${MIXPREC_DRIVER_FOLDERS:-/run/opengl-driver/lib:/usr/lib/x86_64-linux-gnu:/usr/lib64:/usr/lib:/usr/lib/wsl/lib}")
    [ -n "$found" ] || return 0
    if [ "$found" = /run/opengl-driver/lib ]; then
        links=$found
    else
        # The wrapper's shell ends at the first failure, but not in a condition: without links the program starts all the same.
        links=$(mixprec_link_driver "$found") || return 0
    fi
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$links"
}

mixprec_find_driver
unset -f mixprec_find_driver mixprec_link_driver mixprec_say mixprec_driver_folder mixprec_driver_files
