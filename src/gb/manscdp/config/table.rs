//! What each kind of configuration is made of.

use super::ConfigKind;
use crate::gb::manscdp::control::is_session;

/// What stands in an element.
#[derive(Copy, Clone, Debug)]
pub(super) enum Shape {
    /// A whole number within these bounds.
    Whole(i64, i64),
    /// A number within these bounds.
    Real(f64, f64),
    /// Text of at least and at most so many characters.
    Text(usize, usize),
    /// Text of a form of its own.
    Form(Form),
    /// Elements of their own.
    Group(&'static [Field]),
    /// At most so many elements `Item`, counted by the attribute `Num`.
    Items(&'static [Field], usize),
    /// The element itself, at most so often.
    Repeated(&'static [Field], usize),
}

/// The form of a text.
#[derive(Copy, Clone, Debug)]
pub(super) enum Form {
    /// Four numbers joined with commas.
    Rectangle,
    /// An address of HTTP.
    Url,
    /// The name of a session.
    Session,
}

/// Longest address.
const MAX_URL: usize = 512;

impl Form {
    pub(super) fn fits(self, text: &str) -> bool {
        match self {
            Form::Rectangle => {
                let mut numbers = text.split(',').map(|number| number.trim().parse::<u16>());
                numbers.clone().count() == 4 && numbers.all(|number| number.is_ok())
            }
            Form::Url => {
                let is_plain = text.bytes().all(|b| b.is_ascii_graphic());
                let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
                is_plain && text.len() <= MAX_URL && rest.is_some_and(|rest| !rest.is_empty())
            }
            Form::Session => is_session(text),
        }
    }

    pub(super) fn says(self) -> &'static str {
        match self {
            Form::Rectangle => "has to be four numbers joined with commas: left, top, right, bottom",
            Form::Url => "has to be an address of http or https",
            Form::Session => "has to be 32 to 128 letters, digits and dashes",
        }
    }
}

/// An element of a group.
#[derive(Copy, Clone, Debug)]
pub(super) struct Field {
    /// As in the standard.
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) required: bool,
    /// Only in answers: it is not sent.
    pub(super) read_only: bool,
    /// Never shown, even where a device tells it.
    pub(super) secret: bool,
    /// Of a list: the element before it that holds the number of its items.
    pub(super) count: Option<&'static str>,
    /// Meaning and unit.
    pub(super) about: &'static str,
}

const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, required: false, read_only: false, secret: false, count: None, about }
}

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { required: true, ..optional(name, shape, about) }
}

const fn read_only(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { read_only: true, ..optional(name, shape, about) }
}

const fn secret(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { secret: true, ..optional(name, shape, about) }
}

const fn counted(name: &'static str, count: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { count: Some(count), ..optional(name, shape, about) }
}

const SWITCH: Shape = Shape::Whole(0, 1);
const STREAM: Shape = Shape::Whole(0, 15);
/// A list of codes joined with `/`.
const CODES: Shape = Shape::Text(0, 256);
const LAYERS: Shape = Shape::Whole(0, 3);
const PIXELS: Shape = Shape::Whole(0, 65_535);
const SECONDS: Shape = Shape::Whole(0, 86_400);
/// A code of the `f=` line, or a vendor's word.
const CODE: Shape = Shape::Text(1, 32);
const NAME: Shape = Shape::Text(1, 256);

const BASIC_PARAM: &[Field] = &[
    optional("Name", NAME, "Name of the device"),
    optional("DeviceID", Shape::Text(1, 32), "Code of the device; amendment of 2014 only"),
    optional("SIPServerID", Shape::Text(1, 32), "Code of the platform; amendment of 2014 only"),
    optional("SIPServerIP", Shape::Text(1, 64), "Address of the platform; amendment of 2014 only"),
    optional("SIPServerPort", Shape::Whole(1, 65_535), "Port of the platform; amendment of 2014 only"),
    optional("DomainName", Shape::Text(1, 256), "Domain of the platform; amendment of 2014 only"),
    optional("Expiration", Shape::Whole(1, 604_800), "Seconds that a registration holds"),
    secret("Password", Shape::Text(1, 64), "Password of the registration; amendment of 2014 only"),
    optional("HeartBeatInterval", Shape::Whole(1, 65_535), "Seconds between two keepalives"),
    optional("HeartBeatCount", Shape::Whole(1, 255), "Keepalives missed until offline"),
    read_only("PositionCapability", Shape::Whole(0, 2), "0 none, 1 GPS, 2 BeiDou; 2016 only"),
    read_only("Longitude", Shape::Real(-180.0, 180.0), "Degrees; 2016 only"),
    read_only("Latitude", Shape::Real(-90.0, 90.0), "Degrees; 2016 only"),
];

const VIDEO_PARAM_OPT: &[Field] = &[
    read_only("DownloadSpeed", CODES, "Speeds of a download, joined with /"),
    read_only("Resolution", CODES, "Resolutions, codes of the f= line joined with /"),
];

const VIDEO_PARAM_ATTRIBUTE: &[Field] = &[
    required("StreamNumber", STREAM, "0 main, 1 first sub-stream and so on"),
    optional("VideoFormat", CODE, "Codec, a code of the f= line: 2 is H.264, 5 H.265"),
    optional("Resolution", CODE, "A code of the f= line, or width and height as in 1920x1080"),
    optional("FrameRate", Shape::Whole(0, 99), "Frames a second"),
    optional("BitRateType", Shape::Whole(1, 2), "1 constant, 2 variable"),
    optional("VideoBitRate", Shape::Whole(0, 100_000), "kbit/s; of a constant bit rate"),
];

const TIME_SEGMENT: &[Field] = &[
    required("StartHour", Shape::Whole(0, 23), "Begin: hour"),
    required("StartMin", Shape::Whole(0, 59), "Begin: minute"),
    required("StartSec", Shape::Whole(0, 59), "Begin: second"),
    // A day may end at 24:00:00.
    required("StopHour", Shape::Whole(0, 24), "End: hour"),
    required("StopMin", Shape::Whole(0, 59), "End: minute"),
    required("StopSec", Shape::Whole(0, 59), "End: second"),
];

const RECORD_SCHEDULE: &[Field] = &[
    required("WeekDayNum", Shape::Whole(1, 7), "1 is Monday, 7 Sunday"),
    counted("TimeSegment", "TimeSegmentSumNum", Shape::Repeated(TIME_SEGMENT, 8), "Spans of the day"),
];

const VIDEO_RECORD_PLAN: &[Field] = &[
    required("RecordEnable", SWITCH, "Whether to record by the plan"),
    counted(
        "RecordSchedule",
        "RecordScheduleSumNum",
        Shape::Repeated(RECORD_SCHEDULE, 7),
        "Days of the week",
    ),
    optional("StreamNumber", STREAM, "0 main, 1 first sub-stream and so on"),
];

const VIDEO_ALARM_RECORD: &[Field] = &[
    required("RecordEnable", SWITCH, "Whether to record at an alarm"),
    optional("RecordTime", SECONDS, "Seconds after the alarm"),
    optional("PreRecordTime", SECONDS, "Seconds before the alarm"),
    optional("StreamNumber", STREAM, "0 main, 1 first sub-stream and so on"),
];

const MASK_REGION: &[Field] = &[
    required("Seq", Shape::Whole(1, 4), "Number of the region"),
    required("Point", Shape::Form(Form::Rectangle), "Left, top, right, bottom in pixels, joined with commas"),
];

const PICTURE_MASK: &[Field] = &[
    required("On", SWITCH, "Whether to mask"),
    counted("RegionList", "SumNum", Shape::Items(MASK_REGION, 4), "Regions"),
];

const ALARM_REPORT: &[Field] = &[
    optional("MotionDetection", SWITCH, "Whether to report motion"),
    optional("FieldDetection", SWITCH, "Whether to report intrusion"),
];

const OSD_TEXT: &[Field] = &[
    required("Text", Shape::Text(0, 32), "Text"),
    required("X", PIXELS, "Pixels from the left"),
    required("Y", PIXELS, "Pixels from the top"),
];

const OSD_CONFIG: &[Field] = &[
    required("Length", PIXELS, "Width of the window that positions are in, pixels"),
    required("Width", PIXELS, "Height of the window that positions are in, pixels"),
    optional("TimeX", PIXELS, "The time's pixels from the left"),
    optional("TimeY", PIXELS, "The time's pixels from the top"),
    optional("TimeEnable", SWITCH, "Whether to show the time"),
    optional("TimeType", SWITCH, "0 YYYY-MM-DD hh:mm:ss, 1 the same in Chinese"),
    optional("TextEnable", SWITCH, "Whether to show the texts"),
    counted("Item", "SumNum", Shape::Repeated(OSD_TEXT, 8), "Texts"),
];

const SNAP_SHOT_CONFIG: &[Field] = &[
    required("SnapNum", Shape::Whole(1, 10), "Pictures to take"),
    required("Interval", Shape::Whole(1, 86_400), "Seconds between two pictures"),
    required("UploadURL", Shape::Form(Form::Url), "Where to upload them, by HTTP"),
    required("SessionID", Shape::Form(Form::Session), "Name of this burst, told again when it is uploaded"),
];

const ROI: &[Field] = &[
    required("ROISeq", Shape::Whole(1, 16), "Number of the region"),
    required("TopLeft", Shape::Whole(0, i64::MAX), "Macroblock at the top left"),
    required("BottomRight", Shape::Whole(0, i64::MAX), "Macroblock at the bottom right"),
    required("ROIQP", LAYERS, "0 general, 1 good, 2 better, 3 best"),
];

const ROI_PARAM: &[Field] = &[
    optional("ROIFlag", SWITCH, "Whether regions are encoded better"),
    counted("Item", "ROINumber", Shape::Repeated(ROI, 16), "Regions"),
    optional("BackGroundQP", LAYERS, "Quality of the background; 2016 only"),
    optional("BackGroundSkipFlag", SWITCH, "Whether the background is skipped; 2016 only"),
];

const ENCODE_SVC_PARAM: &[Field] = &[
    optional("SVCFlag", SWITCH, "Whether scalable; amendment of 2014 only"),
    optional("SVCSTMMode", LAYERS, "Layers; amendment of 2014 only"),
    optional("SVCSpaceDomainMode", LAYERS, "Spatial layers"),
    optional("SVCTimeDomainMode", LAYERS, "Temporal layers"),
    optional("SSVCRatioValue", Shape::Text(1, 32), "Ratio of spatial layers, as in 4:3; since 2022"),
    read_only("SVCSpaceSupportMode", LAYERS, "Spatial layers that the device can do"),
    read_only("SVCTimeSupportMode", LAYERS, "Temporal layers that the device can do"),
    read_only("SSVCRatioSupportList", CODES, "Ratios that the device can do; since 2022"),
];

const ENCODE_SURVEILLANCE: &[Field] = &[
    optional("TimeFlag", SWITCH, "Whether the time is in the stream"),
    optional("EventFlag", SWITCH, "Whether events are in the stream; 2016 only"),
    optional("AlertFlag", SWITCH, "Whether alarms are in the stream; 2016 only"),
    optional("OSDFlag", SWITCH, "Whether texts are in the stream; since 2022"),
    optional("AIFlag", SWITCH, "Whether results of analysis are in the stream; since 2022"),
    optional("GISFlag", SWITCH, "Whether positions are in the stream; since 2022"),
];

const AUDIO_PARAM: &[Field] =
    &[optional("AudioRecognitionFlag", SWITCH, "Whether audio carries features for recognition")];

const SVAC_ENCODE_CONFIG: &[Field] = &[
    optional("ROIParam", Shape::Group(ROI_PARAM), "Regions of interest"),
    optional("SVCParam", Shape::Group(ENCODE_SVC_PARAM), "Scalable coding"),
    optional("SurveillanceParam", Shape::Group(ENCODE_SURVEILLANCE), "Information in the stream"),
    optional("AudioParam", Shape::Group(AUDIO_PARAM), "Audio"),
];

const DECODE_SVC_PARAM: &[Field] = &[
    optional("SVCSTMMode", LAYERS, "Layers that are decoded"),
    read_only("SVCSpaceSupportMode", LAYERS, "Spatial layers that the device can do"),
    read_only("SVCTimeSupportMode", LAYERS, "Temporal layers that the device can do"),
];

const DECODE_SURVEILLANCE: &[Field] = &[
    optional("TimeShowFlag", SWITCH, "Whether the time is shown"),
    optional("EventShowFlag", SWITCH, "Whether events are shown; 2016 only"),
    // So printed.
    optional("AlerShowtFlag", SWITCH, "Whether alarms are shown; 2016 only"),
    optional("OSDShowFlag", SWITCH, "Whether texts are shown; since 2022"),
    optional("AIShowFlag", SWITCH, "Whether results of analysis are shown; since 2022"),
    optional("GISShowFlag", SWITCH, "Whether positions are shown; since 2022"),
];

const SVAC_DECODE_CONFIG: &[Field] = &[
    optional("SVCParam", Shape::Group(DECODE_SVC_PARAM), "Scalable coding"),
    optional("SurveillanceParam", Shape::Group(DECODE_SURVEILLANCE), "Information in the stream"),
];

const VIDEO_PARAM_CONFIG: &[Field] = &[
    required("StreamName", Shape::Text(1, 64), "Name of the stream"),
    optional("VideoFormat", CODE, "Codec, a code of the f= line: 2 is H.264"),
    optional("Resolution", CODE, "A code of the f= line"),
    optional("FrameRate", Shape::Whole(0, 99), "Frames a second"),
    optional("BitRateType", Shape::Whole(1, 2), "1 constant, 2 variable"),
    optional("VideoBitRate", Shape::Whole(0, 100_000), "kbit/s"),
];

const AUDIO_PARAM_CONFIG: &[Field] = &[
    required("StreamName", Shape::Text(1, 64), "Name of the stream"),
    optional("AudioFormat", CODE, "Codec, a code of the f= line: 1 is G.711"),
    optional("AudioBitRate", CODE, "A code of the f= line"),
    optional("SamplingRate", CODE, "A code of the f= line"),
];

/// Streams of a device, at most.
const STREAMS: usize = 16;

impl ConfigKind {
    /// What the element of the kind holds.
    pub(super) fn shape(self) -> Shape {
        match self {
            ConfigKind::BasicParam => Shape::Group(BASIC_PARAM),
            ConfigKind::VideoParamOpt => Shape::Group(VIDEO_PARAM_OPT),
            ConfigKind::SvacEncodeConfig => Shape::Group(SVAC_ENCODE_CONFIG),
            ConfigKind::SvacDecodeConfig => Shape::Group(SVAC_DECODE_CONFIG),
            ConfigKind::VideoParamAttribute => Shape::Items(VIDEO_PARAM_ATTRIBUTE, STREAMS),
            ConfigKind::VideoRecordPlan => Shape::Group(VIDEO_RECORD_PLAN),
            ConfigKind::VideoAlarmRecord => Shape::Group(VIDEO_ALARM_RECORD),
            ConfigKind::PictureMask => Shape::Group(PICTURE_MASK),
            // 0 as it is, 1 mirrored left to right, 2 upside down, 3 both.
            ConfigKind::FrameMirror => Shape::Whole(0, 3),
            ConfigKind::AlarmReport => Shape::Group(ALARM_REPORT),
            ConfigKind::OsdConfig => Shape::Group(OSD_CONFIG),
            ConfigKind::SnapShotConfig => Shape::Group(SNAP_SHOT_CONFIG),
            ConfigKind::VideoParamConfig => Shape::Items(VIDEO_PARAM_CONFIG, STREAMS),
            ConfigKind::AudioParamConfig => Shape::Items(AUDIO_PARAM_CONFIG, STREAMS),
        }
    }
}
