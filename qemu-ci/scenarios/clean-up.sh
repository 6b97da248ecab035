# Leaves only Dom0 on this host, and nothing of luthierd's. Run before and after each scenario.
xl list | awk 'NR > 2 { print $2 }' | while read -r domain; do
    xl destroy "$domain" >/dev/null 2>&1
done
# Guests of the next scenario have the same names.
rm -f /var/log/xen/console/guest-*.log
# The daemon first may end by itself, then must. (pidof prints all of them: words.)
pids=$(pidof luthierd) && kill $pids && sleep 1
pids=$(pidof luthierd) && kill -9 $pids
pids=$(pidof tcpdump) && kill $pids
# What scenarios of disks have made there.
[ ! -e /dev/mapper/control ] || (. /add/scenarios/lib.sh; . /add/scenarios/disks.sh; clear_ground)
umount /var/lib/luthier/images 2>/dev/null
rm -rf /var/lib/luthier/* /run/luthier* /etc/luthier/net.toml /etc/luthier/switch.key /etc/luthier/storage.toml /tmp/luthierd.log
# The release that 68-older-peer has put aside.
[ ! -d /newer ] || { mv /newer/luthierd /newer/luthier /usr/sbin/ && mv /newer/stubdom /usr/lib/luthier/ && rmdir /newer; }
# Without the uplink that start-luthier added.
sed -i '/^vif = /d' /etc/luthier/stub.cfg
exit 0
