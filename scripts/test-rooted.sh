#!/bin/sh
# Runs the tests of one project, `disk` or `netns`, in namespaces of their own: what they mount, and for `netns` their whole network,
# is nobody else's, and is gone when they end, however they do. Without root, or where namespaces are not allowed, the tests run as
# they are and skip what they cannot do, with the reason.
# Usage: scripts/test-rooted.sh PROJECT [arguments of vitest]
set -eu
project=$1
shift
spaces='--mount --propagation private'
[ "$project" != netns ] || spaces="$spaces --net"
# shellcheck disable=SC2086
if [ "$(id -u)" -ne 0 ] || ! unshare $spaces true 2>/dev/null; then
  exec npx vitest run --project "$project" "$@"
fi
[ "$project" != netns ] || export RINGKEEP_NETWORK_BEFORE="$(readlink /proc/self/ns/net)"
# shellcheck disable=SC2086,SC2016
exec unshare $spaces sh -c '
  if [ "$1" = netns ] && command -v ip >/dev/null; then
    ip link set lo up
    # Names of namespaces are mounts, and files that would stay.
    mkdir -p /run/netns
    mount -t tmpfs none /run/netns
  fi
  project=$1
  shift
  exec npx vitest run --project "$project" "$@"
' sh "$project" "$@"
