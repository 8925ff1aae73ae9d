//! The configuration of a simulated device: sections kept as they were written, and told again as they are.
//!
//! It is not read with the gateway's table of fields, on purpose: a device that shared the gateway's mistakes would
//! never show them.

use std::collections::BTreeMap;

use crate::gb::manscdp::Edition;
use crate::gb::xml::{self, Element};

/// Sections kept of one target: there are fourteen.
const MAX_SECTIONS: usize = 32;

/// The sections a device has from the beginning: ConfigType, since which edition, the element that answers it.
const SECTIONS: [(&str, Edition, &str); 14] = [
    (
        "BasicParam",
        Edition::E2014,
        "<BasicParam><Name>camera</Name><Expiration>3600</Expiration><HeartBeatInterval>60</HeartBeatInterval>\
         <HeartBeatCount>3</HeartBeatCount></BasicParam>",
    ),
    (
        "VideoParamOpt",
        Edition::E2014,
        "<VideoParamOpt><DownloadSpeed>1/2/4</DownloadSpeed><Resolution>5/6</Resolution></VideoParamOpt>",
    ),
    (
        "SVACEncodeConfig",
        Edition::E2014,
        "<SVACEncodeConfig><ROIParam><ROIFlag>0</ROIFlag><ROINumber>0</ROINumber></ROIParam><SVCParam>\
         <SVCSpaceDomainMode>0</SVCSpaceDomainMode><SVCTimeDomainMode>0</SVCTimeDomainMode>\
         <SVCSpaceSupportMode>3</SVCSpaceSupportMode><SVCTimeSupportMode>3</SVCTimeSupportMode></SVCParam>\
         <SurveillanceParam><TimeFlag>1</TimeFlag></SurveillanceParam>\
         <AudioParam><AudioRecognitionFlag>0</AudioRecognitionFlag></AudioParam></SVACEncodeConfig>",
    ),
    (
        "SVACDecodeConfig",
        Edition::E2014,
        "<SVACDecodeConfig><SVCParam><SVCSTMMode>0</SVCSTMMode><SVCSpaceSupportMode>3</SVCSpaceSupportMode>\
         <SVCTimeSupportMode>3</SVCTimeSupportMode></SVCParam>\
         <SurveillanceParam><TimeShowFlag>1</TimeShowFlag></SurveillanceParam></SVACDecodeConfig>",
    ),
    (
        "VideoParamAttribute",
        Edition::E2022,
        "<VideoParamAttribute Num=\"2\"><Item><StreamNumber>0</StreamNumber><VideoFormat>2</VideoFormat>\
         <Resolution>6</Resolution><FrameRate>25</FrameRate><BitRateType>1</BitRateType>\
         <VideoBitRate>4096</VideoBitRate></Item><Item><StreamNumber>1</StreamNumber><VideoFormat>2</VideoFormat>\
         <Resolution>2</Resolution><FrameRate>25</FrameRate><BitRateType>2</BitRateType></Item></VideoParamAttribute>",
    ),
    (
        "VideoRecordPlan",
        Edition::E2022,
        "<VideoRecordPlan><RecordEnable>1</RecordEnable><RecordScheduleSumNum>1</RecordScheduleSumNum>\
         <RecordSchedule><WeekDayNum>1</WeekDayNum><TimeSegmentSumNum>1</TimeSegmentSumNum><TimeSegment>\
         <StartHour>0</StartHour><StartMin>0</StartMin><StartSec>0</StartSec><StopHour>23</StopHour>\
         <StopMin>59</StopMin><StopSec>59</StopSec></TimeSegment></RecordSchedule>\
         <StreamNumber>0</StreamNumber></VideoRecordPlan>",
    ),
    (
        "VideoAlarmRecord",
        Edition::E2022,
        "<VideoAlarmRecord><RecordEnable>1</RecordEnable><RecordTime>30</RecordTime>\
         <PreRecordTime>5</PreRecordTime><StreamNumber>0</StreamNumber></VideoAlarmRecord>",
    ),
    (
        "PictureMask",
        Edition::E2022,
        "<PictureMask><On>0</On><SumNum>0</SumNum><RegionList Num=\"0\"></RegionList></PictureMask>",
    ),
    ("FrameMirror", Edition::E2022, "<FrameMirror>0</FrameMirror>"),
    (
        "AlarmReport",
        Edition::E2022,
        "<AlarmReport><MotionDetection>1</MotionDetection><FieldDetection>0</FieldDetection></AlarmReport>",
    ),
    (
        "OSDConfig",
        Edition::E2022,
        "<OSDConfig><Length>1920</Length><Width>1080</Width><TimeX>20</TimeX><TimeY>20</TimeY>\
         <TimeEnable>1</TimeEnable><TimeType>0</TimeType><TextEnable>1</TextEnable><SumNum>1</SumNum><Item>\
         <Text>camera</Text><X>20</X><Y>1000</Y></Item></OSDConfig>",
    ),
    // The answer's element is printed so in the standard.
    (
        "SnapShotConfig",
        Edition::E2022,
        "<SnapShot><SnapNum>1</SnapNum><Interval>1</Interval><UploadURL></UploadURL>\
         <SessionID></SessionID></SnapShot>",
    ),
    // Of the amendment of 2014; 2016 knows them no more.
    (
        "VideoParamConfig",
        Edition::E2014,
        "<VideoParamConfig><Item><StreamName>1</StreamName><VideoFormat>2</VideoFormat><Resolution>6</Resolution>\
         <FrameRate>25</FrameRate><BitRateType>1</BitRateType><VideoBitRate>4096</VideoBitRate></Item>\
         </VideoParamConfig>",
    ),
    (
        "AudioParamConfig",
        Edition::E2014,
        "<AudioParamConfig><Item><StreamName>1</StreamName><AudioFormat>1</AudioFormat>\
         <AudioBitRate>8</AudioBitRate><SamplingRate>1</SamplingRate></Item></AudioParamConfig>",
    ),
];

/// The configuration of one target, a device or a channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Config {
    sections: BTreeMap<&'static str, Element>,
}

impl Config {
    /// The section of that ConfigType, if the edition has it.
    pub(super) fn get(&self, kind: &str, edition: Edition) -> Option<Element> {
        let (name, _, start) = find(kind, edition)?;
        self.sections.get(name).cloned().or_else(|| Some(xml::read(start).ok()?.0))
    }

    /// Takes in a section. What it does not name stays, as in BasicParam; lists are replaced. `false` if the edition
    /// has no such section, or it can't be written.
    pub(super) fn set(&mut self, section: &Element, edition: Edition) -> bool {
        let Some((name, ..)) = find(&section.name, edition) else { return false };
        if name == "VideoParamOpt" || self.sections.len() >= MAX_SECTIONS {
            return false;
        }
        let Some(mut kept) = self.get(name, edition) else { return false };
        kept.text.clone_from(&section.text);
        kept.attributes.clone_from(&section.attributes);
        kept.children.retain(|own| section.child(&own.name).is_none());
        kept.children.extend(section.children.iter().cloned());
        self.sections.insert(name, kept);
        true
    }
}

fn find(kind: &str, edition: Edition) -> Option<(&'static str, Edition, &'static str)> {
    let of_2014 = ["VideoParamConfig", "AudioParamConfig"];
    let known = |(name, since, _): &&(&str, Edition, &str)| {
        name.eq_ignore_ascii_case(kind)
            && *since <= edition
            && (edition <= Edition::E2014 || !of_2014.contains(name))
    };
    SECTIONS.iter().find(known).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Element {
        xml::read(text).unwrap().0
    }

    #[test]
    fn every_section_reads_and_names_what_it_answers() {
        for (name, since, _) in SECTIONS {
            let told = Config::default().get(name, since).unwrap();
            assert!(told.is(name) || told.is("SnapShot"), "{name}");
        }
    }

    #[test]
    fn what_is_set_is_kept_and_the_rest_stays() {
        let mut config = Config::default();
        assert!(config.set(&section("<BasicParam><Name>门</Name></BasicParam>"), Edition::E2016));
        let basic = config.get("BasicParam", Edition::E2016).unwrap();
        assert_eq!((basic.text_of("Name"), basic.text_of("HeartBeatCount")), (Some("门"), Some("3")));
        assert!(config.set(&section("<FrameMirror>3</FrameMirror>"), Edition::E2022));
        assert_eq!(config.get("FrameMirror", Edition::E2022).unwrap().text, "3");
        let osd = "<OSDConfig><Item><Text>a</Text></Item><Item><Text>b</Text></Item></OSDConfig>";
        assert!(config.set(&section(osd), Edition::E2022));
        let osd = config.get("OSDConfig", Edition::E2022).unwrap();
        assert_eq!(osd.children("Item").count(), 2, "a list is replaced");
        assert_eq!(osd.text_of("Length"), Some("1920"));
    }

    #[test]
    fn an_edition_knows_its_own_sections() {
        assert!(Config::default().get("OSDConfig", Edition::E2016).is_none());
        assert!(Config::default().get("VideoParamConfig", Edition::E2022).is_none());
        let optics = section("<VideoParamOpt><DownloadSpeed>8</DownloadSpeed></VideoParamOpt>");
        assert!(!Config::default().set(&optics, Edition::E2022), "it is read only");
    }
}
