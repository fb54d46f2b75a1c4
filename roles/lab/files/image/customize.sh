#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# mmdebstrap hook: what makes a plain Debian a host of the lab.
set -euo pipefail

root=$1
cp -rT --no-preserve=ownership "$LAB_HERE/tree" "$root"
chmod 0440 "$root/etc/sudoers.d/lab"

# The kernel runs outside of the image; its modules must be inside.
mkdir -p "$root/lib/modules"
cp -r /usr/lib/uml/modules/* "$root/lib/modules/"
for version in /usr/lib/uml/modules/*; do chroot "$root" depmod "$(basename "$version")"; done

sed -i 's/^SELINUX=.*/SELINUX=enforcing/' "$root/etc/selinux/config"
: > "$root/etc/fstab"

chroot "$root" useradd --create-home --shell /bin/bash admin
for home in root home/admin; do
  install -d -m 0700 "$root/$home/.ssh"
  install -m 0600 "$LAB_KEYS/authorized_keys" "$root/$home/.ssh/authorized_keys"
done
chroot "$root" chown -R admin:admin /home/admin/.ssh
rm -f "$root"/etc/ssh/ssh_host_*
install -m 0600 "$LAB_KEYS/host_key" "$root/etc/ssh/ssh_host_ed25519_key"
install -m 0644 "$LAB_KEYS/host_key.pub" "$root/etc/ssh/ssh_host_ed25519_key.pub"

# User-Mode Linux has no IPv4 family for nf_tables.
chroot "$root" update-alternatives --set iptables /usr/sbin/iptables-legacy
chroot "$root" update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy

# There is no terminal to log in at, and nobody to wait for: timers of the package manager would hold its lock.
chroot "$root" systemctl --quiet enable lab-network.service
chroot "$root" systemctl --quiet disable getty@tty1.service e2scrub_reap.service
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
  dpkg-db-backup.timer

# Of what the lab has none: disks that are encrypted, hibernated or found by their type; and more. Every reload of
# systemd would start a process for each.
install -d -m 0755 "$root/etc/systemd/system-generators"
for name in cryptsetup debug gpt-auto hibernate-resume import integritysetup rc-local run ssh system-update tpm2 veritysetup; do
  ln -s /dev/null "$root/etc/systemd/system-generators/systemd-$name-generator"
done
