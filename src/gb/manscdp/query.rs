//! Queries, clause 9.5 and A.2.4: what a device is asked.

use std::collections::BTreeSet;

use super::config::ConfigKind;
use super::event::AlarmFilter;
use super::{Edition, Message, Root, Style, field, flag, number_of, time_of, write};
use crate::gb::id::Id;
use crate::gb::time::{Offset, UnixMillis, gb_seconds};
use crate::gb::xml::Writer;

/// Most kinds of configuration read of one query: more than there are.
const MAX_KINDS: usize = 32;

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// Answered by pages that [`CatalogPage`](super::CatalogPage) reads. Also the body of a subscription.
    Catalog,
    DeviceInfo,
    DeviceStatus,
    Records(RecordQuery),
    /// ConfigDownload of at least one kind.
    Config(Vec<ConfigKind>),
    Presets,
    HomePosition,
    CruiseTracks,
    CruiseTrack {
        /// 0 is the first.
        number: u32,
    },
    /// Also the body of a subscription.
    PtzPosition,
    SdCards,
    /// The body of a subscription only.
    MobilePosition {
        /// Seconds between two reports.
        interval: u32,
    },
    /// The body of a subscription only.
    Alarm(AlarmFilter),
}

impl Query {
    /// CmdType.
    pub fn command(&self) -> &'static str {
        match self {
            Query::Catalog => "Catalog",
            Query::DeviceInfo => "DeviceInfo",
            Query::DeviceStatus => "DeviceStatus",
            Query::Records(_) => "RecordInfo",
            Query::Config(_) => "ConfigDownload",
            Query::Presets => "PresetQuery",
            Query::HomePosition => "HomePositionQuery",
            Query::CruiseTracks => "CruiseTrackListQuery",
            Query::CruiseTrack { .. } => "CruiseTrackQuery",
            Query::PtzPosition => "PTZPosition",
            Query::SdCards => "SDCardStatus",
            Query::MobilePosition { .. } => "MobilePosition",
            Query::Alarm(_) => "Alarm",
        }
    }

    /// The edition that introduced it.
    pub fn since(&self) -> Edition {
        match self {
            Query::Catalog
            | Query::DeviceInfo
            | Query::DeviceStatus
            | Query::Records(_)
            | Query::Alarm(_) => Edition::E2011,
            Query::Config(kinds) => {
                kinds.iter().map(|kind| kind.since()).max().unwrap_or_default().max(Edition::E2014)
            }
            Query::Presets => Edition::E2014,
            Query::MobilePosition { .. } => Edition::E2016,
            Query::HomePosition
            | Query::CruiseTracks
            | Query::CruiseTrack { .. }
            | Query::PtzPosition
            | Query::SdCards => Edition::E2022,
        }
    }

    /// Whether the answer may come in several messages of the same SN.
    pub fn paged(&self) -> bool {
        match self {
            Query::Catalog
            | Query::Records(_)
            | Query::Presets
            | Query::CruiseTracks
            | Query::CruiseTrack { .. }
            | Query::SdCards => true,
            Query::Config(kinds) => kinds.len() > 1,
            Query::DeviceInfo
            | Query::DeviceStatus
            | Query::HomePosition
            | Query::PtzPosition
            | Query::MobilePosition { .. }
            | Query::Alarm(_) => false,
        }
    }

    /// The body, for the device, channel or node `id`.
    pub fn body(&self, sn: u32, id: &Id, style: &Style) -> String {
        write::body(Root::Query, self.command(), sn, id, |w| match self {
            Query::Records(records) => records.write(w, style),
            Query::Config(kinds) => {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
                w.field("ConfigType", &names.join("/"));
            }
            Query::CruiseTrack { number } => w.value("Number", number),
            Query::MobilePosition { interval } => w.value("Interval", interval),
            Query::Alarm(filter) => filter.write(w, style),
            _ => {}
        })
    }

    /// Reads a query, as a device does. None: it is no query, one that is unknown, or one of records without a time.
    pub fn read(message: &Message, offset: Offset) -> Option<Query> {
        if message.root != Root::Query {
            return None;
        }
        let body = &message.body;
        Some(match message.cmd.as_str() {
            "Catalog" => Query::Catalog,
            "DeviceInfo" => Query::DeviceInfo,
            "DeviceStatus" => Query::DeviceStatus,
            "RecordInfo" => Query::Records(RecordQuery::read(message, offset)?),
            "ConfigDownload" => {
                let kinds = body.value_of("ConfigType").unwrap_or_default();
                let kinds: BTreeSet<ConfigKind> =
                    kinds.split('/').take(MAX_KINDS).filter_map(|kind| kind.parse().ok()).collect();
                Query::Config(kinds.into_iter().collect())
            }
            "PresetQuery" => Query::Presets,
            "HomePositionQuery" => Query::HomePosition,
            "CruiseTrackListQuery" => Query::CruiseTracks,
            "CruiseTrackQuery" => Query::CruiseTrack { number: number_of(body, "Number").unwrap_or(0) },
            "PTZPosition" => Query::PtzPosition,
            "SDCardStatus" => Query::SdCards,
            "MobilePosition" => Query::MobilePosition {
                interval: number_of(body, "Interval").unwrap_or(Query::DEFAULT_INTERVAL),
            },
            "Alarm" => Query::Alarm(AlarmFilter::read(message, offset)),
            _ => return None,
        })
    }

    /// Seconds between two reports of a position where a subscription does not say, A.2.4.9.
    pub const DEFAULT_INTERVAL: u32 = 5;
}

/// Which recordings are looked for, A.2.4.5 (RecordInfo).
#[derive(Clone, Debug, PartialEq)]
pub struct RecordQuery {
    pub start: UnixMillis,
    pub end: UnixMillis,
    pub kind: RecordKind,
    /// Secret ones rather than the others.
    pub secrecy: bool,
    pub file_path: Option<String>,
    /// A part of an address.
    pub address: Option<String>,
    /// Who caused the recording.
    pub recorder_id: Option<String>,
    /// Search the centre's storage beside the device's and put both together.
    pub indistinct: bool,
    /// 0 main, 1 sub and so on. Since 2022, as are the next two.
    pub stream: Option<u8>,
    pub alarm_method: Option<u8>,
    pub alarm_kind: Option<u16>,
}

impl RecordQuery {
    /// All that was recorded in a span.
    pub fn new(start: UnixMillis, end: UnixMillis) -> RecordQuery {
        RecordQuery {
            start,
            end,
            kind: RecordKind::All,
            secrecy: false,
            file_path: None,
            address: None,
            recorder_id: None,
            indistinct: false,
            stream: None,
            alarm_method: None,
            alarm_kind: None,
        }
    }

    fn write(&self, w: &mut Writer, style: &Style) {
        w.field("StartTime", &gb_seconds(self.start, style.offset));
        w.field("EndTime", &gb_seconds(self.end, style.offset));
        w.optional("FilePath", self.file_path.as_deref());
        w.optional("Address", self.address.as_deref());
        w.value("Secrecy", u8::from(self.secrecy));
        if style.record_type_always || self.kind != RecordKind::All {
            w.field("Type", self.kind.as_str());
        }
        w.optional("RecorderID", self.recorder_id.as_deref());
        if self.indistinct {
            w.value("IndistinctQuery", 1);
        }
        if style.is_2022() {
            w.optional_value("StreamNumber", self.stream);
            w.optional_value("AlarmMethod", self.alarm_method);
            w.optional_value("AlarmType", self.alarm_kind);
        }
    }

    fn read(message: &Message, offset: Offset) -> Option<RecordQuery> {
        let body = &message.body;
        let kind = body.value_of("Type").and_then(RecordKind::parse).unwrap_or_default();
        let set = |name| body.value_of(name).and_then(flag) == Some(true);
        Some(RecordQuery {
            start: time_of(body, "StartTime", offset)?,
            end: time_of(body, "EndTime", offset)?,
            kind,
            secrecy: set("Secrecy"),
            file_path: field(body, "FilePath"),
            address: field(body, "Address"),
            recorder_id: field(body, "RecorderID"),
            indistinct: set("IndistinctQuery"),
            stream: number_of(body, "StreamNumber"),
            alarm_method: number_of(body, "AlarmMethod"),
            alarm_kind: number_of(body, "AlarmType"),
        })
    }
}

/// What caused a recording.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Hash)]
pub enum RecordKind {
    /// A plan.
    Time,
    Alarm,
    Manual,
    /// Any of them.
    #[default]
    All,
}

impl RecordKind {
    const ALL: [RecordKind; 4] = [RecordKind::Time, RecordKind::Alarm, RecordKind::Manual, RecordKind::All];

    /// As on the wire: `time`, `alarm`, `manual` or `all`.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordKind::Time => "time",
            RecordKind::Alarm => "alarm",
            RecordKind::Manual => "manual",
            RecordKind::All => "all",
        }
    }

    /// From the word on the wire, in either case.
    pub fn parse(text: &str) -> Option<RecordKind> {
        RecordKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text.trim()))
    }

    /// The number in the `u=` line of an offer, as 2022 has it: 0 all, 1 manual, 2 alarm, 3 time.
    pub fn code(self) -> u8 {
        match self {
            RecordKind::All => 0,
            RecordKind::Manual => 1,
            RecordKind::Alarm => 2,
            RecordKind::Time => 3,
        }
    }
}
