//! `onMetaData` (E.5), in the AMF 0 that script tags are written in.

use super::super::mp4::Entry;
use super::HVC1;
use crate::media::codec::g711;
use crate::media::unit::Codec;

/// Markers of AMF 0.
const NUMBER: u8 = 0;
const STRING: u8 = 2;
const ARRAY: u8 = 8;
const END: [u8; 3] = [0, 0, 9];

/// What is known of the stream before it is decoded.
pub(super) fn metadata(pictures: Option<&Entry>, sound: Option<Codec>) -> Vec<u8> {
    let mut members: Vec<(&str, f64)> = Vec::new();
    if let Some(entry) = pictures {
        let (width, height) = entry.size();
        let codec = if entry.codec() == Codec::H264 { 7 } else { u32::from_be_bytes(*HVC1) };
        members.extend([("width", width), ("height", height), ("videocodecid", codec)].map(float));
    }
    match sound {
        Some(Codec::Aac) => members.push(("audiocodecid", 10.0)),
        Some(codec @ (Codec::Pcma | Codec::Pcmu)) => {
            let format = if codec == Codec::Pcma { 7 } else { 8 };
            members.extend([("audiocodecid", format), ("audiosamplerate", g711::SAMPLE_RATE)].map(float));
        }
        _ => {}
    }
    let mut out = vec![STRING];
    name(&mut out, "onMetaData");
    out.push(ARRAY);
    out.extend((members.len() as u32).to_be_bytes());
    for (key, value) in members {
        name(&mut out, key);
        out.push(NUMBER);
        out.extend(value.to_be_bytes());
    }
    out.extend(END);
    out
}

fn float((name, value): (&str, u32)) -> (&str, f64) {
    (name, f64::from(value))
}

fn name(out: &mut Vec<u8>, name: &str) {
    out.extend((name.len() as u16).to_be_bytes());
    out.extend(name.as_bytes());
}
