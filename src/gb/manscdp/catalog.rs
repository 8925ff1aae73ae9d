//! The catalog: pages of items, clause A.2.6.4 and itemType of A.2.1.

use super::{Edition, Message, clipped, degrees_of, field, flag, id_of, number_of};
use crate::gb::id::{Id, Kind};
use crate::gb::xml::{Element, Writer};

/// Parents kept of one item. Two are usual, a device and a virtual organisation.
const MAX_PARENTS: usize = 8;
/// Fields of `Info` kept that have no place of their own. The 2022 edition has some thirty.
const MAX_INFO: usize = 40;

/// One page of a catalog: the response to a query, or a notify of changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CatalogPage {
    /// Items in all pages together, as the sender counts. Often wrong.
    pub sum_num: Option<u32>,
    pub items: Vec<CatalogItem>,
    /// Items that could not be read, for want of an identifier.
    pub bad_items: u32,
}

impl CatalogPage {
    pub fn read(message: &Message) -> CatalogPage {
        let body = &message.body;
        // Some leave the list element out.
        let list = body.child("DeviceList").unwrap_or(body);
        let mut page = CatalogPage { sum_num: number_of(body, "SumNum"), ..CatalogPage::default() };
        for item in list.children("Item") {
            match CatalogItem::read(item) {
                Some(item) => page.items.push(item),
                None => page.bad_items = page.bad_items.saturating_add(1),
            }
        }
        page
    }
}

/// What a catalog notify says of an item.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum CatalogEvent {
    On,
    Off,
    /// The video was lost.
    VideoLost,
    Defect,
    Add,
    Delete,
    Update,
}

impl CatalogEvent {
    const ALL: [CatalogEvent; 7] = [
        CatalogEvent::On,
        CatalogEvent::Off,
        CatalogEvent::VideoLost,
        CatalogEvent::Defect,
        CatalogEvent::Add,
        CatalogEvent::Delete,
        CatalogEvent::Update,
    ];

    /// From the word on the wire, in either case.
    pub(super) fn parse(text: &str) -> Option<CatalogEvent> {
        CatalogEvent::ALL.into_iter().find(|event| event.as_str().eq_ignore_ascii_case(text))
    }

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CatalogEvent::On => "ON",
            CatalogEvent::Off => "OFF",
            CatalogEvent::VideoLost => "VLOST",
            CatalogEvent::Defect => "DEFECT",
            CatalogEvent::Add => "ADD",
            CatalogEvent::Delete => "DEL",
            CatalogEvent::Update => "UPDATE",
        }
    }
}

/// An item of a catalog: a channel, a device, a system, a group or a region.
///
/// Fields that are missing, empty, `null` or senseless are `None`; an item is never refused for one of them.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogItem {
    pub id: Id,
    /// In a notify of changes.
    pub event: Option<CatalogEvent>,
    /// Empty where the item has none, as in most notifies.
    pub name: String,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub owner: Option<String>,
    /// The region: 2, 4, 6 or 8 digits.
    pub civil_code: Option<Id>,
    pub block: Option<String>,
    pub address: Option<String>,
    /// Whether the item has children.
    pub parental: bool,
    /// In the order sent; the last one is the most useful parent in a tree.
    pub parent_ids: Vec<Id>,
    pub business_group: Option<Id>,
    pub safety_way: Option<u8>,
    pub register_way: Option<u8>,
    /// A, B or C of GB 35114.
    pub security_level: Option<String>,
    pub secrecy: bool,
    pub ip_address: Option<String>,
    pub port: Option<u16>,
    /// Whether the item is online, where it says so.
    pub status: Option<bool>,
    /// Degrees, WGS-84.
    pub longitude: Option<f64>,
    pub latitude: Option<f64>,
    /// 1 dome, 2 half-dome, 3 fixed, 4 remote bullet, 5 remote half-dome, 6 panoramic, 7 split.
    pub ptz_type: Option<u8>,
    /// The other fields of `Info`, such as Resolution, by name and in the order sent.
    pub info: Vec<(String, String)>,
}

impl CatalogItem {
    /// An item with nothing but an identifier and a name, online.
    pub fn new(id: Id, name: &str) -> CatalogItem {
        CatalogItem {
            id,
            event: None,
            name: name.to_owned(),
            manufacturer: None,
            model: None,
            owner: None,
            civil_code: None,
            block: None,
            address: None,
            parental: false,
            parent_ids: Vec::new(),
            business_group: None,
            safety_way: None,
            register_way: None,
            security_level: None,
            secrecy: false,
            ip_address: None,
            port: None,
            status: Some(true),
            longitude: None,
            latitude: None,
            ptz_type: None,
            info: Vec::new(),
        }
    }

    /// The field of that name in `info`.
    pub fn info_of(&self, name: &str) -> Option<&str> {
        self.info.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, text)| text.as_str())
    }

    fn read(item: &Element) -> Option<CatalogItem> {
        const PLACED: [&str; 2] = ["PTZType", "BusinessGroupID"];
        let none = Element::default();
        let info = item.child("Info").unwrap_or(&none);
        let event = item.value_of("Event");
        let parents = item.value_of("ParentID").unwrap_or_default();
        Some(CatalogItem {
            id: id_of(item, "DeviceID")?,
            event: event.and_then(CatalogEvent::parse),
            name: field(item, "Name").unwrap_or_default(),
            manufacturer: field(item, "Manufacturer"),
            model: field(item, "Model"),
            owner: field(item, "Owner"),
            civil_code: id_of(item, "CivilCode").filter(|code| code.kind() == Kind::Region),
            block: field(item, "Block"),
            address: field(item, "Address"),
            // Some say 65535; all that is not 0 is yes.
            parental: item.value_of("Parental").is_some_and(|p| p != "0"),
            parent_ids: parents.split('/').filter_map(parent).take(MAX_PARENTS).collect(),
            // Inside Info in 2016, beside it in 2022.
            business_group: id_of(item, "BusinessGroupID").or_else(|| id_of(info, "BusinessGroupID")),
            safety_way: number_of(item, "SafetyWay"),
            register_way: number_of(item, "RegisterWay"),
            security_level: field(item, "SecurityLevelCode"),
            secrecy: item.value_of("Secrecy") == Some("1"),
            ip_address: field(item, "IPAddress"),
            port: number_of(item, "Port"),
            status: item.value_of("Status").and_then(flag),
            longitude: degrees_of(item, "Longitude", 180.0),
            latitude: degrees_of(item, "Latitude", 90.0),
            // Beside Info in bodies of old.
            ptz_type: number_of(info, "PTZType").or_else(|| number_of(item, "PTZType")),
            info: info
                .children
                .iter()
                .filter(|f| f.children.is_empty() && !PLACED.iter().any(|name| f.is(name)))
                .filter_map(|f| Some((f.name.clone(), clipped(info.text_of(&f.name)?))))
                .take(MAX_INFO)
                .collect(),
        })
    }

    /// Writes the item in the order of the edition's schema. A change of state carries the event and no more;
    /// regions and groups carry what annex O (2016) or J (2022) gives them.
    pub(super) fn write(&self, edition: Edition, w: &mut Writer) {
        w.element("Item", &[], |w| {
            w.field("DeviceID", self.id.as_str());
            w.optional("Event", self.event.map(CatalogEvent::as_str));
            if !matches!(self.event, None | Some(CatalogEvent::Add | CatalogEvent::Update)) {
                return;
            }
            w.field("Name", &self.name);
            match self.id.kind() {
                Kind::Region => {}
                Kind::BusinessGroup | Kind::VirtualOrganisation => self.write_group(w),
                _ => self.write_device(edition, w),
            }
        });
    }

    fn write_group(&self, w: &mut Writer) {
        w.optional("CivilCode", self.civil_code.as_ref().map(Id::as_str));
        self.write_parents(w);
        w.optional("BusinessGroupID", self.business_group.as_ref().map(Id::as_str));
    }

    fn write_device(&self, edition: Edition, w: &mut Writer) {
        let is_2022 = edition == Edition::E2022;
        // Mandatory for devices, so that an empty one is better than none.
        w.field("Manufacturer", self.manufacturer.as_deref().unwrap_or_default());
        w.field("Model", self.model.as_deref().unwrap_or_default());
        if !is_2022 {
            w.field("Owner", self.owner.as_deref().unwrap_or_default());
        }
        w.field("CivilCode", self.civil_code.as_ref().map(Id::as_str).unwrap_or_default());
        w.optional("Block", self.block.as_deref());
        w.field("Address", self.address.as_deref().unwrap_or_default());
        w.value("Parental", u8::from(self.parental));
        self.write_parents(w);
        if !is_2022 {
            w.optional_value("SafetyWay", self.safety_way);
        }
        w.value("RegisterWay", self.register_way.unwrap_or(1));
        if is_2022 {
            w.optional("SecurityLevelCode", self.security_level.as_deref());
        }
        w.value("Secrecy", u8::from(self.secrecy));
        w.optional("IPAddress", self.ip_address.as_deref());
        w.optional_value("Port", self.port);
        w.field("Status", if self.status == Some(false) { "OFF" } else { "ON" });
        w.optional_value("Longitude", self.longitude);
        w.optional_value("Latitude", self.latitude);
        self.write_info(edition, w);
    }

    fn write_parents(&self, w: &mut Writer) {
        if !self.parent_ids.is_empty() {
            let parents: Vec<&str> = self.parent_ids.iter().map(Id::as_str).collect();
            w.field("ParentID", &parents.join("/"));
        }
    }

    /// Info, where there is anything in it, and a device's BusinessGroupID: before it in 2022, inside it in 2016,
    /// behind the resolution.
    fn write_info(&self, edition: Edition, w: &mut Writer) {
        const BEHIND: [&str; 3] = ["DownloadSpeed", "SVCSpaceSupportMode", "SVCTimeSupportMode"];
        let group = self.business_group.as_ref().map(Id::as_str);
        let group = if edition == Edition::E2022 {
            w.optional("BusinessGroupID", group);
            None
        } else {
            group
        };
        if group.is_none() && self.ptz_type.is_none() && self.info.is_empty() {
            return;
        }
        let is_behind = |(name, _): &(String, String)| BEHIND.contains(&name.as_str());
        let at = self.info.iter().position(is_behind).unwrap_or(self.info.len());
        let (before, behind) = self.info.split_at(at);
        w.element("Info", &[], |w| {
            w.optional_value("PTZType", self.ptz_type);
            before.iter().for_each(|(name, text)| w.field(name, text));
            w.optional("BusinessGroupID", group);
            behind.iter().for_each(|(name, text)| w.field(name, text));
        });
    }
}

/// One of the identifiers of a ParentID.
fn parent(text: &str) -> Option<Id> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("null") {
        return None;
    }
    Id::parse(text).ok()
}
