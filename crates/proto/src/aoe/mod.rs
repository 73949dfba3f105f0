//! ATA over Ethernet frames (AoEr11).
