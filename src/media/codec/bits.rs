//! Reads the bits of a NAL unit, with its emulation prevention bytes left out (ITU-T H.264, 7.4.1).

pub(crate) struct Bits<'a> {
    rest: &'a [u8],
    current: u8,
    left: u8,
    zeros: u8,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(nal: &'a [u8]) -> Bits<'a> {
        Bits { rest: nal, current: 0, left: 0, zeros: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        if self.left == 0 {
            let mut byte = self.byte()?;
            if self.zeros >= 2 && byte == 3 {
                byte = self.byte()?;
                self.zeros = 0;
            }
            self.zeros = if byte == 0 { self.zeros.saturating_add(1) } else { 0 };
            self.current = byte;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.current >> self.left & 1 == 1)
    }

    /// An unsigned number of up to 32 bits.
    pub(crate) fn u(&mut self, bits: u32) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..bits {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    /// Exp-Golomb, unsigned.
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        (1u32 << zeros).checked_add(self.u(zeros)?)?.checked_sub(1)
    }

    /// Exp-Golomb, signed.
    pub(crate) fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let half = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code % 2 == 1 { half } else { -half })
    }

    pub(crate) fn skip(&mut self, bits: u32) -> Option<()> {
        for _ in 0..bits {
            self.bit()?;
        }
        Some(())
    }
}
