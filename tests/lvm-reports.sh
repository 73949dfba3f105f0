#!/bin/sh
# pvs, vgs and lvs print byte for byte what LVM2's print about the same disks.
# shellcheck source=lib.sh
. "$(dirname -- "$0")/lib.sh"
# shellcheck source=lvm.inc
. "$top/tests/lvm.inc"

same() {
    lvm2 "$@" >"$tmp/theirs" 2>/dev/null || theirs=$?
    ours "$@" >"$tmp/mine" 2>/dev/null || mine=$?
    # LVM2 lets this line slip into its reports.
    grep -v 'Retrying metadata scan' "$tmp/theirs" >"$tmp/wanted" || :
    diff -u "$tmp/wanted" "$tmp/mine" || fail "$name: $*"
    equal "$name: exit status of $*" "${mine:-0}" "${theirs:-0}"
    theirs='' mine=''
}

for name in 01-single 02-orphans 03-four-pv-mixed-mda 04-bad-mda1-header 04-bad-mda1-text 04-bad-label-crc \
    07-missing-pv 08-exported 08-foreign-systemid 08-dlm 09-duplicate-pv 12-unknown-compat-flag-and-key \
    13-precommit-left 15-two-pv-all; do
    fixture "$name"
    same lvs -a -o +devices
    same lvs
    same lvs --segments
    same lvs -o lv_name,lv_size,lv_path,lv_uuid,lv_active,seg_count,lv_host,lv_time,lv_tags --noheadings
    same lvs --reportformat json -a -o \
        lv_name,segtype,stripes,stripe_size,region_size,chunk_size,seg_start,seg_size,seg_size_pe,seg_pe_ranges,seg_le_ranges,devices
    same lvs --units s -O -lv_size,lv_name
    same vgs
    same vgs -o +vg_mda_free,vg_mda_size,vg_mda_count,vg_mda_used_count,vg_mda_copies,vg_seqno,vg_uuid,vg_extent_size
    same vgs --units g --nosuffix --noheadings
    same vgs --units M --separator , -o vg_name,size,free,vg_extent_count,vg_free_count
    same vgs --reportformat json -o +vg_sysid,vg_tags,vg_permissions,vg_exported,vg_partial,vg_missing_pv_count
    same pvs
    same pvs -o +pv_mda_count,pv_mda_used_count,missing,pv_uuid
    same pvs --units b --nosuffix --separator : -o pv_name,pv_mda_free,pv_mda_size,pe_start,dev_size,pv_used,vg_name
    same pvs --reportformat json -o +pv_major,pv_minor,pv_ext_vsn,pv_in_use,pv_pe_count,pv_pe_alloc_count,pv_ba_start
    same lvs nosuch
    same vgs nosuch
    same pvs /dev/null
done

# LVM2 does not show clustered groups any more; what 2.02 showed of them was the c.
fixture 08-clustered
equal "attributes" "$(ours vgs --noheadings -o vg_attr,vg_clustered)" "  wz--nc  clustered"
equal "volumes" "$(ours lvs --noheadings -o lv_name,lv_size)" "  a    4.00m"
