//! What the beginning of a disk gives away about what was on it.

/// A signature and where it is, in bytes from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    pub name: &'static str,
    pub offset: u64,
    pub magic: &'static [u8],
}

const fn signature(name: &'static str, offset: u64, magic: &'static [u8]) -> Signature {
    Signature { name, offset, magic }
}

/// The file systems, arrays and tables a disk of ours has had on it; the names are libblkid's.
const KNOWN: &[Signature] = &[
    signature("ext4", 1080, b"\x53\xef"),
    signature("xfs", 0, b"XFSB"),
    signature("btrfs", 0x1_0040, b"_BHRfS_M"),
    signature("gfs2", 0x1_0000, b"\x01\x16\x19\x70"),
    signature("swap", 4086, b"SWAPSPACE2"),
    signature("swap", 4086, b"SWAP-SPACE"),
    signature("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    signature("linux_raid_member", 4096, b"\xfc\x4e\x2b\xa9"),
    signature("linux_raid_member", 0, b"\xfc\x4e\x2b\xa9"),
    signature("LVM2_member", 0, b"LABELONE"),
    signature("LVM2_member", 512, b"LABELONE"),
    signature("LVM2_member", 1024, b"LABELONE"),
    signature("LVM2_member", 1536, b"LABELONE"),
    signature("ntfs", 3, b"NTFS    "),
    signature("vfat", 54, b"FAT1"),
    signature("vfat", 82, b"FAT32   "),
    signature("iso9660", 32_769, b"CD001"),
    signature("squashfs", 0, b"hsqs"),
    signature("gpt", 512, b"EFI PART"),
    signature("dos", 510, b"\x55\xaa"),
];

/// How much of a disk's beginning signatures are in.
pub const REACH: u64 = 0x1_0048;

/// The signatures in the beginning of a disk.
#[must_use]
pub fn find(start: &[u8]) -> Vec<Signature> {
    let is_there = |signature: &&Signature| {
        let at = usize::try_from(signature.offset).unwrap_or(usize::MAX);
        start.get(at..).is_some_and(|rest| rest.starts_with(signature.magic))
    };
    KNOWN.iter().filter(is_there).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_found_where_it_belongs_and_nowhere_else() {
        let mut disk = vec![0; usize::try_from(REACH).unwrap()];
        assert_eq!(find(&disk), []);
        disk[1080..1082].copy_from_slice(b"\x53\xef");
        disk[0x1_0040..].copy_from_slice(b"_BHRfS_M");
        assert_eq!(find(&disk).iter().map(|found| found.name).collect::<Vec<_>>(), ["ext4", "btrfs"]);
        assert_eq!(find(&disk[1..]).iter().map(|found| found.name).collect::<Vec<_>>(), [""; 0]);
        assert_eq!(find(&disk[..1081]), []);
    }
}
