#!/bin/bash
# Recorded stand-in for enroot 4.1.2, which this machine cannot have: `enroot import` as its src/docker.sh runs it.
# It notes how it was called and what it found (argv, environment, credentials, standard input), looks credentials
# up and expands them as enroot does, asks the registry with the real curl, and writes a squashfs superblock.
set -euo pipefail
note=/var/tmp/enroot-stand-in
mkdir -p "$note"
[ "$1" = import ] || { echo "stand-in: only import is recorded" >&2; exit 1; }
shift
while [ "$1" != -- ]; do case $1 in --output) file=$2; shift 2 ;; *) exit 2 ;; esac; done
uri=$2
echo "$uri" >> "$note/imports"
creds=$ENROOT_CONFIG_PATH/.credentials
registry=${uri#docker://}; registry=${registry%%#*}
image=${uri##*#}; path=${image%%[:@]*}; version=${image#"$path"}; version=${version#?}
{
    echo "argv: $0 import --output $file -- $uri"
    echo "stdin: $(readlink /proc/self/fd/0)"
    echo "memory: $(stat -f -c %T "$ENROOT_CONFIG_PATH") $(stat -c %a "$ENROOT_CONFIG_PATH") $(stat -c %a "$creds")"
    echo "tokens: $(stat -f -c %T "$ENROOT_CACHE_PATH/.tokens.$EUID/")"
    echo "machines: $(awk '{print $2, $4}' "$creds" | tr '\n' ';')"
} > "$note/last"
[ ! -e "$file" ] || { echo "[ERROR] File already exists: $file" >&2; exit 1; }
# docker::_parse_uri: the user comes from the line of the registry's host, without its port.
user=$(awk "/^[[:space:]]*machine[[:space:]]+${registry%:*}[[:space:]]+login[[:space:]]+.+/ { print \$4; exit }" "$creds")
ask() { # PATH OPTIONS...
    local options=(-sS --cacert "/etc/containers/certs.d/$registry/ca.crt") fd url=https://$registry/v2/$path/$1; shift
    if [ -n "$user" ]; then
        # common::evalnetrc
        exec {fd}< <(awk '{ if (NF >= 6 && $6 ~ "^\\$") { for(i=1; i<6; i++) printf "%s ", $i
            for(i=1; i<6; i++) sub("^["FS"]*[^"FS"]+["FS"]+", "", $0); fflush(); system("echo "$0) } else print }' "$creds")
        options+=(--netrc-file "/proc/self/fd/$fd")
    fi
    curl "${options[@]}" -H 'Accept: application/vnd.docker.distribution.manifest.v2+json' "$@" "$url"
}
code=$(ask "manifests/$version" -o /dev/null -w '%{http_code}')
if [ -e "$note/content" ] && [ "$code" = 200 ]; then
    # What is in the image: enroot_stand_in.py makes of it what it can start.
    rm -rf "$note/blobs" && mkdir "$note/blobs"
    ask "manifests/$version" -o "$note/blobs/manifest"
    for blob in $(grep -o 'sha256:[0-9a-f]\{64\}' "$note/blobs/manifest"); do
        ask "blobs/$blob" -L -o "$note/blobs/$blob"
    done
fi
umask 077
echo "token of $user" > "$ENROOT_CACHE_PATH/.tokens.$EUID/$registry.$$"
[ -e "$note/hang" ] && sleep 600
[ "$code" = 200 ] || exit 1     # enroot's own way: no message
head -c 3000000 /dev/urandom > "$file.data"
# A superblock of a squashfs file: its magic, and at byte 40 how long it is.
{ printf hsqs; head -c 36 /dev/zero; printf '\xc0\xc6\x2d\x00\x00\x00\x00\x00'; head -c 2999952 "$file.data"; } > "$file"
rm "$file.data" "$ENROOT_CACHE_PATH/.tokens.$EUID/$registry.$$"
