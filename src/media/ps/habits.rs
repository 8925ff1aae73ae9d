//! What a sender leaves out of its program stream though annex C asks for it. Each is told once: it is a habit, and
//! would otherwise be told with every key frame.

use super::fault::PsFault;

#[derive(Debug, Default)]
pub(super) struct Habits {
    /// Seen since the last picture.
    map: bool,
    system_header: bool,
    told: [bool; 3],
}

impl Habits {
    pub(super) fn map(&mut self) {
        self.map = true;
    }

    pub(super) fn system_header(&mut self) {
        self.system_header = true;
    }

    /// A PES packet of video without a length.
    pub(super) fn unbounded(&mut self) -> Option<PsFault> {
        self.tell(0, PsFault::LengthZero)
    }

    /// A picture is whole: what should have come before it, if it can be the first to be decoded.
    pub(super) fn picture(&mut self, key: bool) -> [Option<PsFault>; 2] {
        let (map, system_header) = (std::mem::take(&mut self.map), std::mem::take(&mut self.system_header));
        [
            (key && !map).then(|| self.tell(1, PsFault::NoMap)).flatten(),
            (key && !system_header).then(|| self.tell(2, PsFault::NoSystemHeader)).flatten(),
        ]
    }

    fn tell(&mut self, which: usize, fault: PsFault) -> Option<PsFault> {
        let told = self.told.get_mut(which)?;
        (!std::mem::replace(told, true)).then_some(fault)
    }
}
