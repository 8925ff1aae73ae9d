//! The eight bytes of a PTZ command, annex A.3: sixteen hexadecimal digits in the PTZCmd element.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Byte 1 of every command.
const START: u8 = 0xA5;
/// Byte 2: version 0, and the sum of three nibbles before it.
const VERSION_AND_CHECK: u8 = 0x0F;
/// Largest value of the twelve bits that some commands carry.
const MAX_12_BITS: u16 = 0xFFF;
/// Largest speed of pan, tilt, focus and iris.
const MAX_SPEED: i16 = 255;
/// Largest speed of zoom.
const MAX_ZOOM: i8 = 15;

/// What a camera is told to do.
///
/// Speeds that are out of range are limited when written. A motion goes on until the next one or a stop comes.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Command {
    /// All zero stops pan, tilt and zoom, and ends a cruise or a scan.
    Move {
        /// -255 (left) to 255 (right).
        pan: i16,
        /// -255 (down) to 255 (up).
        tilt: i16,
        /// -15 (out) to 15 (in).
        zoom: i8,
    },
    /// All zero stops the lens.
    Lens {
        /// -255 (near) to 255 (far).
        focus: i16,
        /// -255 (close) to 255 (open).
        iris: i16,
    },
    /// Presets are 1 to 255.
    PresetSet(u8),
    PresetCall(u8),
    PresetDelete(u8),
    CruiseAdd {
        cruise: u8,
        preset: u8,
    },
    /// Preset 0 deletes the whole cruise.
    CruiseRemove {
        cruise: u8,
        preset: u8,
    },
    CruiseSpeed {
        cruise: u8,
        /// 12 bits.
        speed: u16,
    },
    CruiseDwell {
        cruise: u8,
        /// 12 bits.
        seconds: u16,
    },
    /// Stopped by [`Command::STOP`].
    CruiseStart(u8),
    /// Stopped by [`Command::STOP`].
    ScanStart(u8),
    ScanLeft(u8),
    ScanRight(u8),
    ScanSpeed {
        scan: u8,
        /// 12 bits.
        speed: u16,
    },
    /// Switch 1 is the wiper; the others are the vendor's.
    Auxiliary {
        switch: u8,
        on: bool,
    },
}

impl Command {
    /// Stops pan, tilt, zoom, cruise and scan.
    pub const STOP: Command = Command::Move { pan: 0, tilt: 0, zoom: 0 };

    /// A motion from parts of full speed, -1 to 1. Less than the slowest step is the slowest step, so that a
    /// gentle push of a lever moves the camera; what is no number is no motion.
    pub fn motion(pan: f64, tilt: f64, zoom: f64) -> Command {
        // The conversions are of whole numbers within range.
        Command::Move {
            pan: scaled(pan, f64::from(MAX_SPEED)) as i16,
            tilt: scaled(tilt, f64::from(MAX_SPEED)) as i16,
            zoom: scaled(zoom, f64::from(MAX_ZOOM)) as i8,
        }
    }

    /// A motion of the lens, from parts of full speed as in [`Command::motion`].
    pub fn lens(focus: f64, iris: f64) -> Command {
        Command::Lens {
            focus: scaled(focus, f64::from(MAX_SPEED)) as i16,
            iris: scaled(iris, f64::from(MAX_SPEED)) as i16,
        }
    }

    /// Byte 4, bytes 5 and 6, and the high nibble of byte 7.
    fn encode(self) -> (u8, u8, u8, u8) {
        let split = |value: u16| {
            let value = value.min(MAX_12_BITS);
            ((value & 0xFF) as u8, (value >> 8) as u8)
        };
        match self {
            Command::Move { pan, tilt, zoom } => {
                let bits = direction(pan, 0x02, 0x01) | direction(tilt, 0x04, 0x08);
                let bits = bits | direction(zoom.into(), 0x20, 0x10);
                (bits, speed(pan), speed(tilt), zoom.unsigned_abs().min(MAX_ZOOM.unsigned_abs()))
            }
            Command::Lens { focus, iris } => {
                let bits = 0x40 | direction(focus, 0x02, 0x01) | direction(iris, 0x08, 0x04);
                (bits, speed(focus), speed(iris), 0)
            }
            Command::PresetSet(preset) => (0x81, 0, preset, 0),
            Command::PresetCall(preset) => (0x82, 0, preset, 0),
            Command::PresetDelete(preset) => (0x83, 0, preset, 0),
            Command::CruiseAdd { cruise, preset } => (0x84, cruise, preset, 0),
            Command::CruiseRemove { cruise, preset } => (0x85, cruise, preset, 0),
            Command::CruiseSpeed { cruise, speed } => {
                let (low, high) = split(speed);
                (0x86, cruise, low, high)
            }
            Command::CruiseDwell { cruise, seconds } => {
                let (low, high) = split(seconds);
                (0x87, cruise, low, high)
            }
            Command::CruiseStart(cruise) => (0x88, cruise, 0, 0),
            Command::ScanStart(scan) => (0x89, scan, 0, 0),
            Command::ScanLeft(scan) => (0x89, scan, 1, 0),
            Command::ScanRight(scan) => (0x89, scan, 2, 0),
            Command::ScanSpeed { scan, speed } => {
                let (low, high) = split(speed);
                (0x8A, scan, low, high)
            }
            Command::Auxiliary { switch, on } => (if on { 0x8C } else { 0x8D }, switch, 0, 0),
        }
    }

    fn decode(code: u8, data1: u8, data2: u8, data3: u8) -> Option<Command> {
        let wide = u16::from(data3) << 8 | u16::from(data2);
        Some(match code {
            0x00..=0x3F => Command::Move {
                pan: signed(code, 0x02, 0x01, data1),
                tilt: signed(code, 0x04, 0x08, data2),
                // A nibble: it fits.
                zoom: signed(code, 0x20, 0x10, data3) as i8,
            },
            0x40..=0x4F => Command::Lens {
                focus: signed(code, 0x02, 0x01, data1),
                iris: signed(code, 0x08, 0x04, data2),
            },
            0x81 => Command::PresetSet(data2),
            0x82 => Command::PresetCall(data2),
            0x83 => Command::PresetDelete(data2),
            0x84 => Command::CruiseAdd { cruise: data1, preset: data2 },
            0x85 => Command::CruiseRemove { cruise: data1, preset: data2 },
            0x86 => Command::CruiseSpeed { cruise: data1, speed: wide },
            0x87 => Command::CruiseDwell { cruise: data1, seconds: wide },
            0x88 => Command::CruiseStart(data1),
            0x89 => match data2 {
                0 => Command::ScanStart(data1),
                1 => Command::ScanLeft(data1),
                2 => Command::ScanRight(data1),
                _ => return None,
            },
            0x8A => Command::ScanSpeed { scan: data1, speed: wide },
            0x8C | 0x8D => Command::Auxiliary { switch: data1, on: code == 0x8C },
            _ => return None,
        })
    }
}

fn scaled(part: f64, full: f64) -> f64 {
    if part.is_nan() || part == 0.0 {
        return 0.0;
    }
    (part.abs().min(1.0) * full).round().max(1.0).copysign(part)
}

/// The bit of a motion's direction.
fn direction(speed: i16, negative: u8, positive: u8) -> u8 {
    match speed.signum() {
        0 => 0,
        1 => positive,
        _ => negative,
    }
}

fn speed(speed: i16) -> u8 {
    speed.unsigned_abs().min(MAX_SPEED.unsigned_abs()) as u8
}

/// A direction and a speed as one number. A direction without a speed is the slowest motion, since some senders
/// round down; both directions at once are none.
fn signed(code: u8, negative: u8, positive: u8, speed: u8) -> i16 {
    let speed = i16::from(speed.max(1));
    match (code & negative != 0, code & positive != 0) {
        (true, false) => -speed,
        (false, true) => speed,
        _ => 0,
    }
}

/// Why a text is no PTZ command.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum BadFrame {
    #[error("a PTZ command has 16 hexadecimal digits")]
    Digits,
    #[error("a PTZ command begins with A50F")]
    Start,
    #[error("the checksum of the PTZ command is wrong")]
    Checksum,
    #[error("the PTZ command {0:02X} is unknown")]
    Unknown(u8),
}

/// A command and its address. Written ([`fmt::Display`]) as 16 upper-case digits, read by [`FromStr`].
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub struct Frame {
    /// 12 bits, without meaning since the DeviceID beside it selects the camera.
    pub address: u16,
    pub command: Command,
}

impl Frame {
    /// To the address that is usual.
    pub fn new(command: Command) -> Frame {
        Frame { address: 1, command }
    }

    pub fn to_bytes(self) -> [u8; 8] {
        let (code, data1, data2, data3) = self.command.encode();
        let address = self.address & MAX_12_BITS;
        let last = data3 << 4 | (address >> 8) as u8;
        let bytes = [START, VERSION_AND_CHECK, (address & 0xFF) as u8, code, data1, data2, last];
        let [b1, b2, b3, b4, b5, b6, b7] = bytes;
        [b1, b2, b3, b4, b5, b6, b7, checksum(bytes)]
    }

    pub fn from_bytes(bytes: [u8; 8]) -> Result<Frame, BadFrame> {
        let [start, version, low, code, data1, data2, last, sum] = bytes;
        if (start, version) != (START, VERSION_AND_CHECK) {
            return Err(BadFrame::Start);
        }
        if sum != checksum([start, version, low, code, data1, data2, last]) {
            return Err(BadFrame::Checksum);
        }
        let command = Command::decode(code, data1, data2, last >> 4).ok_or(BadFrame::Unknown(code))?;
        Ok(Frame { address: u16::from(last & 0x0F) << 8 | u16::from(low), command })
    }
}

/// The sum of the bytes, modulo 256.
fn checksum(bytes: [u8; 7]) -> u8 {
    bytes.into_iter().fold(0, u8::wrapping_add)
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().into_iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl FromStr for Frame {
    type Err = BadFrame;

    /// Takes either case, and white space around the digits.
    fn from_str(text: &str) -> Result<Frame, BadFrame> {
        let text = text.trim();
        // `from_str_radix` would take a sign.
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadFrame::Digits);
        }
        let bytes = u64::from_str_radix(text, 16).map_err(|_| BadFrame::Digits)?;
        Frame::from_bytes(bytes.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_standards_examples() {
        use Command::*;
        for (text, address, command) in [
            ("A50F0100000000B5", 1, Command::STOP),
            ("A50F01011F0000D5", 1, Move { pan: 0x1F, tilt: 0, zoom: 0 }),
            ("A50F01294030509E", 1, Move { pan: 0x40, tilt: 0x30, zoom: -5 }),
            ("A50F00100000A064", 0, Move { pan: 0, tilt: 0, zoom: 10 }),
            ("A50F01080080003D", 1, Move { pan: 0, tilt: 0x80, zoom: 0 }),
            ("A50F0102200000D7", 1, Move { pan: -0x20, tilt: 0, zoom: 0 }),
            ("A50F2300000001D8", 0x123, Command::STOP),
            ("A50F01452010002A", 1, Lens { focus: 0x20, iris: 0x10 }),
            ("A50F0140000000F5", 1, Lens { focus: 0, iris: 0 }),
            ("A50F01810005003B", 1, PresetSet(5)),
            ("A50F01820005003C", 1, PresetCall(5)),
            ("A50F01830005003D", 1, PresetDelete(5)),
            ("A50F01840105003F", 1, CruiseAdd { cruise: 1, preset: 5 }),
            ("A50F0187010F004C", 1, CruiseDwell { cruise: 1, seconds: 15 }),
            ("A50F018601051051", 1, CruiseSpeed { cruise: 1, speed: 0x105 }),
            ("A50F01880100003E", 1, CruiseStart(1)),
            ("A50F018901010040", 1, ScanLeft(1)),
            ("A50F018A01231073", 1, ScanSpeed { scan: 1, speed: 0x123 }),
            ("A50F018C01000042", 1, Auxiliary { switch: 1, on: true }),
            ("A50F018D01000043", 1, Auxiliary { switch: 1, on: false }),
        ] {
            let frame = Frame { address, command };
            assert_eq!(frame.to_string(), text);
            assert_eq!(text.parse(), Ok(frame));
            assert_eq!(format!(" {} ", text.to_lowercase()).parse(), Ok(frame));
        }
    }

    #[test]
    fn refuses() {
        for (text, error) in [
            ("", BadFrame::Digits),
            ("A50F01", BadFrame::Digits),
            ("+50F0100000000B5", BadFrame::Digits),
            ("A50F0100000000é", BadFrame::Digits),
            ("A60F0100000000B6", BadFrame::Start),
            ("A50E0100000000B4", BadFrame::Start),
            ("A50F0100000000B6", BadFrame::Checksum),
            ("A50F019000000045", BadFrame::Unknown(0x90)),
            ("A50F018901030042", BadFrame::Unknown(0x89)),
        ] {
            assert_eq!(text.parse::<Frame>(), Err(error), "{text}");
        }
    }

    #[test]
    fn parts_of_full_speed() {
        assert_eq!(Command::motion(1.0, -1.0, 1.0), Command::Move { pan: 255, tilt: -255, zoom: 15 });
        assert_eq!(Command::motion(0.001, -9.0, -0.01), Command::Move { pan: 1, tilt: -255, zoom: -1 });
        assert_eq!(
            Command::motion(f64::NAN, -0.0, f64::NEG_INFINITY),
            Command::Move { pan: 0, tilt: 0, zoom: -15 }
        );
        assert_eq!(Command::lens(-0.5, 0.0), Command::Lens { focus: -128, iris: 0 });
    }

    #[test]
    fn out_of_range_is_limited() {
        let text = |command| Frame::new(command).to_string();
        let most = Command::Move { pan: i16::MIN, tilt: i16::MAX, zoom: i8::MIN };
        assert_eq!(text(most), text(Command::Move { pan: -255, tilt: 255, zoom: -15 }));
        let long = Command::CruiseDwell { cruise: 1, seconds: u16::MAX };
        assert_eq!(text(long), text(Command::CruiseDwell { cruise: 1, seconds: 4095 }));
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let wide = 0u16..=MAX_12_BITS;
        prop_oneof![
            (-255i16..=255, -255i16..=255, -15i8..=15).prop_map(|(pan, tilt, zoom)| Command::Move {
                pan,
                tilt,
                zoom
            }),
            (-255i16..=255, -255i16..=255).prop_map(|(focus, iris)| Command::Lens { focus, iris }),
            any::<u8>().prop_map(Command::PresetSet),
            any::<u8>().prop_map(Command::PresetCall),
            any::<u8>().prop_map(Command::PresetDelete),
            any::<(u8, u8)>().prop_map(|(cruise, preset)| Command::CruiseAdd { cruise, preset }),
            any::<(u8, u8)>().prop_map(|(cruise, preset)| Command::CruiseRemove { cruise, preset }),
            (any::<u8>(), wide.clone()).prop_map(|(cruise, speed)| Command::CruiseSpeed { cruise, speed }),
            (any::<u8>(), wide.clone())
                .prop_map(|(cruise, seconds)| Command::CruiseDwell { cruise, seconds }),
            any::<u8>().prop_map(Command::CruiseStart),
            any::<u8>().prop_map(Command::ScanStart),
            any::<u8>().prop_map(Command::ScanLeft),
            any::<u8>().prop_map(Command::ScanRight),
            (any::<u8>(), wide).prop_map(|(scan, speed)| Command::ScanSpeed { scan, speed }),
            any::<(u8, bool)>().prop_map(|(switch, on)| Command::Auxiliary { switch, on }),
        ]
    }

    proptest! {
        #[test]
        fn written_and_read_again(address in 0u16..=MAX_12_BITS, command in any_command()) {
            let frame = Frame { address, command };
            prop_assert_eq!(frame.to_string().parse(), Ok(frame));
        }

        #[test]
        fn any_bytes_are_read_or_refused(address: u8, code: u8, data: [u8; 3]) {
            let [d1, d2, d3] = data;
            let seven = [START, VERSION_AND_CHECK, address, code, d1, d2, d3];
            let [b1, b2, b3, b4, b5, b6, b7] = seven;
            // What was read says the same when written and read again.
            if let Ok(frame) = Frame::from_bytes([b1, b2, b3, b4, b5, b6, b7, checksum(seven)]) {
                prop_assert_eq!(Frame::from_bytes(frame.to_bytes()), Ok(frame));
            }
        }
    }
}
