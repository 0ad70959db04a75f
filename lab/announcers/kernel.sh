#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A trivial announcer for `gateherald-lab failover`: whoever has the lock puts the address on its interface, and the kernel
# answers. A good-natured peer to compare with, and one that shows what SIGKILL leaves behind.
exec 9>"$SHARED/lock"
# No child may hold the lock when this is killed.
hold() { ip addr "$1" "$ADDRESS/32" dev "$INTERFACE" 9>&- 2>/dev/null; }
trap 'hold del; exit 0' TERM INT
# With a limit: a signal waits for it.
until flock --exclusive --timeout 0.5 9; do :; done
hold add
arping -q -c 1 -U -I "$INTERFACE" "$ADDRESS" 9>&- &
while :; do
  sleep 1 9>&- &
  wait $!
done
