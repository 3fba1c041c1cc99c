//! Packet identifiers.

use std::num::NonZeroU16;

/// A packet identifier: 1 to 65,535 (MQTT 5 §2.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// How many there are.
    pub const COUNT: usize = 65_535;

    /// `None` for 0, which is no identifier [MQTT-2.2.1-3].
    #[inline]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The `n`th of the identifiers counted round and round: 1 for 0, 65,535 for 65,534, and 1 again for 65,535.
    pub const fn nth(n: u64) -> Self {
        match Self::new(1 + (n % Self::COUNT as u64) as u16) {
            Some(id) => id,
            None => panic!("1 to 65,535 is not 0"),
        }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_go_round() {
        assert_eq!(PacketId::new(0), None);
        assert_eq!(PacketId::nth(0).get(), 1);
        assert_eq!(PacketId::nth(65_534).get(), 65_535);
        assert_eq!(PacketId::nth(65_535).get(), 1);
        assert_eq!(PacketId::nth(u64::MAX).get(), 1 + (u64::MAX % 65_535) as u16);
    }
}
