//! What in a body breaks the standard.

use std::collections::HashSet;

use super::{BadBody, COMMANDS, CatalogEvent, Message, Root, Style, degrees_of};
use crate::gb::conformance::{Departure, Departures, Rule};
use crate::gb::id::{Id, Kind};
use crate::gb::time::parse_gb;
use crate::gb::xml::Element;

/// Most identifiers of a page that repetitions are looked for among.
const MAX_IDS: usize = 10_000;

impl BadBody {
    /// The departure of a body that could not be read.
    pub fn departure(self) -> Departure {
        Departure { rule: Rule::XmlUnreadable, count: 1, sample: self.to_string() }
    }
}

impl Message {
    /// The departures that this body shows by itself: its encoding, its XML, its envelope and, for what a device
    /// sends, its fields. Those of a catalog as a whole, such as its SumNum, show when all pages are there.
    pub fn departures(&self) -> Vec<Departure> {
        let mut found = Departures::default();
        self.envelope(&mut found);
        let body = &self.body;
        match (self.root, self.cmd.as_str()) {
            (Root::Response | Root::Notify, "Catalog") => self.catalog(&mut found),
            (Root::Response, "RecordInfo") => records(body, &mut found),
            (Root::Response, "DeviceInfo") => {
                missing(body, &["Manufacturer", "Model"], Rule::DeviceInfoIncomplete, &mut found);
            }
            (Root::Response, "DeviceStatus") => {
                missing(body, &["Online", "Status"], Rule::DeviceStatusIncomplete, &mut found);
                time(body, "DeviceTime", &mut found);
            }
            (Root::Notify, "Alarm") => {
                let fields = ["AlarmPriority", "AlarmMethod", "AlarmTime"];
                missing(body, &fields, Rule::AlarmFieldMissing, &mut found);
                time(body, "AlarmTime", &mut found);
            }
            (Root::Notify, "MobilePosition") => position(body, &mut found),
            (Root::Notify, "Keepalive")
                if body.value_of("Status").is_some_and(|s| super::flag(s) == Some(false)) =>
            {
                found.add(Rule::KeepaliveStatusError, || "Status ERROR".to_owned());
            }
            _ => {}
        }
        found.into_vec()
    }

    fn envelope(&self, found: &mut Departures) {
        if self.misdeclared {
            found.add(Rule::CharsetDeclaredWrong, || format!("the text is {}", self.charset));
        }
        for fault in &self.faults {
            found.add(Rule::XmlNotWellFormed, || format!("{} in {}", fault.as_str(), self.cmd));
        }
        if !COMMANDS.contains(&self.cmd.as_str()) {
            found.add(Rule::CommandUnknown, || self.cmd.clone());
        }
        if self.sn == 0 {
            let sn = self.body.value_of("SN").unwrap_or("none");
            found.add(Rule::SnMissing, || format!("{} {}: SN {sn}", self.root.as_str(), self.cmd));
        }
        match self.device_id {
            // A position of 2016 and a broadcast name none.
            None if matches!(self.cmd.as_str(), "MobilePosition" | "Broadcast") => {}
            None => {
                let id = self.body.value_of("DeviceID").unwrap_or("none");
                found.add(Rule::XmlMissingDeviceId, || {
                    format!("{} {}: DeviceID {id}", self.root.as_str(), self.cmd)
                });
            }
            Some(id) => identifier(&id, found),
        }
        let says_result = [
            "DeviceControl",
            "DeviceConfig",
            "DeviceInfo",
            "DeviceStatus",
            "ConfigDownload",
            "Alarm",
            "Broadcast",
        ];
        if self.root == Root::Response && says_result.contains(&self.cmd.as_str()) && self.result().is_none()
        {
            found.add(Rule::ResultMissing, || format!("Response {}", self.cmd));
        }
    }

    fn catalog(&self, found: &mut Departures) {
        let list = self.body.child("DeviceList").unwrap_or(&self.body);
        number(list, found);
        let mut ids = HashSet::new();
        for element in list.children("Item") {
            let raw = element.value_of("DeviceID");
            let Some(id) = raw.and_then(|id| Id::parse(id).ok()) else {
                found.add(Rule::CatalogItemWithoutId, || raw.unwrap_or("none").to_owned());
                continue;
            };
            // Changes to one item may follow each other in one notify.
            if self.root == Root::Response && ids.len() < MAX_IDS && !ids.insert(id) {
                found.add(Rule::CatalogDuplicateIds, || id.to_string());
            }
            item(&id, element, found);
        }
    }
}

fn item(id: &Id, item: &Element, found: &mut Departures) {
    identifier(id, found);
    let says = |name: &str| item.value_of(name).is_some();
    if let Some(event) = item.value_of("Event") {
        match CatalogEvent::parse(event) {
            None => found.add(Rule::CatalogEventUnknown, || format!("{id}: {event}")),
            // All that has to be said is said.
            Some(CatalogEvent::Add | CatalogEvent::Update) => {}
            Some(_) => return,
        }
    }
    let mut lacks = |rule, what: &str| found.add(rule, || format!("{id} has no {what}"));
    let kind = id.kind();
    if !says("Name") {
        lacks(Rule::CatalogItemWithoutName, "Name");
    }
    match kind {
        Kind::Region => return,
        Kind::BusinessGroup if !says("ParentID") => lacks(Rule::CatalogItemWithoutParent, "ParentID"),
        Kind::VirtualOrganisation => {
            let info = item.child("Info").is_some_and(|info| info.value_of("BusinessGroupID").is_some());
            if !info && !says("BusinessGroupID") {
                lacks(Rule::CatalogOrganisationWithoutGroup, "BusinessGroupID");
            }
        }
        // The top of the tree has no parent.
        Kind::BusinessGroup | Kind::Platform | Kind::Server => {}
        _ => {
            if !says("Manufacturer") || !says("Model") {
                lacks(Rule::CatalogItemWithoutManufacturer, "Manufacturer or Model");
            }
            if !says("CivilCode") {
                lacks(Rule::CatalogItemWithoutCivilCode, "CivilCode");
            }
            if !says("ParentID") {
                lacks(Rule::CatalogItemWithoutParent, "ParentID");
            }
            if !says("Status") {
                lacks(Rule::CatalogItemWithoutStatus, "Status");
            }
            if item.value_of("Parental").is_some_and(|parental| !matches!(parental, "0" | "1")) {
                let parental = item.value_of("Parental").unwrap_or_default();
                found.add(Rule::CatalogParentalWrong, || format!("{id}: Parental {parental}"));
            }
        }
    }
    if let Some(code) = item.value_of("CivilCode") {
        if Id::parse(code).is_ok_and(|code| code.kind() == Kind::Region) {
            return;
        }
        found.add(Rule::CivilCodeWrong, || format!("{id}: CivilCode {code}"));
    }
}

/// An identifier of 20 digits, or of a region.
fn identifier(id: &Id, found: &mut Departures) {
    match id.kind() {
        Kind::Region => {}
        _ if !id.is_standard() => found.add(Rule::IdNot20Digits, || id.to_string()),
        Kind::Other if id.type_code().is_none_or(|code| code < 600) => {
            found.add(Rule::IdUnknownType, || id.to_string());
        }
        _ => {}
    }
}

/// The attribute Num of a list.
fn number(list: &Element, found: &mut Departures) {
    let items = list.children("Item").count();
    let Some(said) = list.attribute("Num") else { return };
    if said.parse() != Ok(items) {
        found.add(Rule::CatalogNumWrong, || format!("{} with Num {said} has {items} items", list.name));
    }
}

fn records(body: &Element, found: &mut Departures) {
    let list = body.child("RecordList").unwrap_or(body);
    number(list, found);
    for item in list.children("Item") {
        missing(item, &["DeviceID", "Name", "StartTime", "EndTime"], Rule::RecordFieldMissing, found);
        time(item, "StartTime", found);
        time(item, "EndTime", found);
    }
}

fn position(body: &Element, found: &mut Departures) {
    let mut one = |element: &Element, at: &str| {
        missing(element, &[at], Rule::PositionFieldMissing, found);
        time(element, at, found);
        for (name, limit) in [("Longitude", 180.0), ("Latitude", 90.0)] {
            if degrees_of(element, name, limit).is_none() {
                let said = element.value_of(name).unwrap_or("none");
                found.add(Rule::PositionFieldMissing, || format!("{name} {said}"));
            }
        }
    };
    match body.child("DeviceList") {
        Some(list) => list.children("Item").for_each(|item| one(item, "CaptureTime")),
        None => one(body, "Time"),
    }
}

fn missing(element: &Element, names: &[&str], rule: Rule, found: &mut Departures) {
    for name in names.iter().filter(|name| element.value_of(name).is_none()) {
        found.add(rule, || format!("no {name}"));
    }
}

/// A time in the form of the schema: 2024-05-01T08:00:00, perhaps with a fraction.
fn time(element: &Element, name: &str, found: &mut Departures) {
    let Some(text) = element.value_of(name) else { return };
    let form = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, form): (u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == *form };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_right = whole.len() == form.len()
        && whole.bytes().zip(form).all(fits)
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && parse_gb(text, Style::default().offset).is_some();
    if !is_right {
        found.add(Rule::TimeFormatWrong, || format!("{name} {text}"));
    }
}
