//! MANSCDP, annex A: the commands, queries, notifies and responses that MESSAGE, SUBSCRIBE and NOTIFY carry.
//!
//! [`parse`] reads the envelope. What is inside is read by [`Query::read`], [`Control::read`] and
//! [`config::sections`] on the side of a device, and by [`Answer::read`], [`CatalogPage`], [`Keepalive`], [`Alarm`]
//! and the other notifies on the side of a platform. The same types make bodies, as do the functions of
//! [`write`](mod@write); [`document`] turns a body into bytes. [`Message::departures`] tells what in a message
//! breaks the standard.

pub mod answer;
mod catalog;
pub mod config;
pub mod control;
mod departure;
mod device;
mod edition;
pub mod event;
pub mod query;
mod style;
#[cfg(test)]
mod tests;
pub mod write;

pub use answer::Answer;
use bytes::{BufMut, Bytes, BytesMut};
pub use catalog::{CatalogEvent, CatalogItem, CatalogPage};
pub use config::ConfigKind;
pub use control::{BadValue, Control, Window, is_session};
pub use device::{AlarmInput, DeviceInfo, DeviceStatus, Keepalive};
pub use edition::{Edition, UnknownEdition};
pub use event::{
    Alarm, AlarmFilter, Broadcast, MediaStatus, MobilePosition, Position, SnapshotFinished, UpgradeResult,
    VideoUpload,
};
pub use query::{Query, RecordKind, RecordQuery};
pub use style::{KeyFrameName, Style};
use thiserror::Error;

use super::charset::{self, Charset, History};
use super::id::Id;
use super::time::{Offset, UnixMillis, parse_gb};
use super::xml::{self, Element, Fault, XmlError};

/// The media type of bodies, as the standard spells it. Compare it without case.
pub const CONTENT_TYPE: &str = "Application/MANSCDP+xml";

/// Longest text field kept, in bytes of UTF-8. The schema's longest is 1,024 characters of extension text.
const MAX_FIELD: usize = 1024;

/// The commands we know by name, in the spelling of the standard.
const COMMANDS: [&str; 21] = [
    "Alarm",
    "Broadcast",
    "Catalog",
    "ConfigDownload",
    "CruiseTrackListQuery",
    "CruiseTrackQuery",
    "DeviceConfig",
    "DeviceControl",
    "DeviceInfo",
    "DeviceStatus",
    "DeviceUpgradeResult",
    "HomePositionQuery",
    "Keepalive",
    "MediaStatus",
    "MobilePosition",
    "PTZPosition",
    "PresetQuery",
    "RecordInfo",
    "SDCardStatus",
    "UploadSnapShotFinished",
    "VideoUploadNotify",
];

/// The four kinds of body.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Root {
    Control,
    Query,
    Notify,
    Response,
}

impl Root {
    const ALL: [Root; 4] = [Root::Control, Root::Query, Root::Notify, Root::Response];

    /// The name of the element.
    pub fn as_str(self) -> &'static str {
        match self {
            Root::Control => "Control",
            Root::Query => "Query",
            Root::Notify => "Notify",
            Root::Response => "Response",
        }
    }
}

/// Why a body is no message.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
pub enum BadBody {
    #[error("the body is not XML: {0}")]
    Xml(#[from] XmlError),
    #[error("the root element is none of Control, Query, Notify and Response")]
    UnknownRoot,
    #[error("the body has no CmdType")]
    NoCommand,
}

impl BadBody {
    /// The stable name, for counting.
    pub fn reason(self) -> &'static str {
        match self {
            BadBody::Xml(_) => "xml",
            BadBody::UnknownRoot => "unknown-root",
            BadBody::NoCommand => "no-command",
        }
    }
}

/// A body, its envelope read.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub root: Root,
    /// CmdType, in the standard's spelling where the command is one of the standard's.
    pub cmd: String,
    /// 0 where it is missing or no number, which is the SN of no request.
    pub sn: u32,
    /// Nothing where it is missing or could not be an identifier.
    pub device_id: Option<Id>,
    pub body: Element,
    /// What had to be mended.
    pub faults: Vec<Fault>,
    /// The encoding to answer in.
    pub charset: Charset,
    /// Whether the declaration names another encoding than the text is in.
    pub misdeclared: bool,
}

impl Message {
    /// Whether this is that command under that root.
    pub fn is(&self, root: Root, cmd: &str) -> bool {
        self.root == root && self.cmd == cmd
    }

    /// The Result of a response, where it says one.
    pub fn result(&self) -> Option<bool> {
        self.body.value_of("Result").and_then(flag)
    }
}

/// Reads a body. `history` is what its sender's encoding is known from.
pub fn parse(body: &[u8], history: &mut History) -> Result<Message, BadBody> {
    let decoded = charset::decode(body, history);
    let (body, faults) = xml::read(&decoded.text)?;
    let root = Root::ALL.into_iter().find(|root| body.is(root.as_str())).ok_or(BadBody::UnknownRoot)?;
    let cmd = clipped(body.value_of("CmdType").ok_or(BadBody::NoCommand)?);
    let cmd = match COMMANDS.iter().find(|known| known.eq_ignore_ascii_case(&cmd)) {
        Some(known) => (*known).to_owned(),
        None => cmd,
    };
    let sn = body.value_of("SN").and_then(|sn| sn.parse().ok()).unwrap_or(0);
    let device_id = id_of(&body, "DeviceID");
    let misdeclared = !decoded.text.is_ascii()
        && charset::declared(decoded.text.as_bytes()).is_some_and(|declared| declared != decoded.charset);
    Ok(Message { root, cmd, sn, device_id, charset: decoded.charset, body, faults, misdeclared })
}

/// A body for the wire: the declaration, which names the encoding as the edition does, and the body, encoded.
pub fn document(body: &str, charset: Charset, edition: Edition) -> Bytes {
    let name = match (charset, edition) {
        (Charset::Utf8, _) => "UTF-8",
        (Charset::Gb18030, Edition::E2022) => "GB18030",
        (Charset::Gb18030, _) => "GB2312",
    };
    let body = charset::encode(body, charset);
    let declaration = format!("<?xml version=\"1.0\" encoding=\"{name}\"?>\r\n");
    let mut out = BytesMut::with_capacity(declaration.len() + body.len());
    out.put(declaration.as_bytes());
    out.put(body);
    out.freeze()
}

/// The many words for yes and no of Status, Online and Result fields.
fn flag(text: &str) -> Option<bool> {
    let is_one_of = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_one_of(&["ON", "OK", "ONLINE", "1", "TRUE"]) {
        return Some(true);
    }
    is_one_of(&["OFF", "ERROR", "OFFLINE", "0", "FALSE", "VLOST", "DEFECT"]).then_some(false)
}

fn id_of(element: &Element, name: &str) -> Option<Id> {
    element.value_of(name).and_then(|text| Id::parse(text).ok())
}

fn number_of<T: std::str::FromStr>(element: &Element, name: &str) -> Option<T> {
    element.value_of(name).and_then(|text| text.parse().ok())
}

/// A finite number whose magnitude is within `limit`.
fn degrees_of(element: &Element, name: &str, limit: f64) -> Option<f64> {
    number_of(element, name).filter(|degrees: &f64| degrees.abs() <= limit)
}

/// A time; `offset` is the zone of one that names none.
fn time_of(element: &Element, name: &str, offset: Offset) -> Option<UnixMillis> {
    element.value_of(name).and_then(|text| parse_gb(text, offset))
}

fn field(element: &Element, name: &str) -> Option<String> {
    element.value_of(name).map(clipped)
}

/// At most [`MAX_FIELD`] bytes.
fn clipped(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_FIELD)).unwrap_or_default().to_owned()
}
