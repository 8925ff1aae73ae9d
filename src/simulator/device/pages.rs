//! Answers of many pages: the catalog and the list of recordings. A page is written when it is sent, after the 200 to
//! the one before: a list of a hundred thousand takes no memory.

use super::state::Condition;
use super::{Device, Purpose};
use crate::gb::id::Id;
use crate::gb::manscdp::{self, CatalogItem, Root, write};
use crate::gb::time::{Now, UnixMillis, gb_seconds, parse_gb};
use crate::gb::xml::Writer;
use crate::simulator::quirks::Quirk;
use crate::simulator::settings::ZONE;

/// Lists on their way at once; the oldest makes room.
const MAX_LISTS: usize = 64;
/// Recordings told of at once, which is the standard's cap for lists.
const MAX_RECORDS: u64 = 10_000;
/// Seconds of a recording: each hour of the day has its own.
const HOUR: i64 = 3_600;
/// What the clip takes on disk, in bytes a second.
const BYTES_A_SECOND: i64 = 40_000;

/// A list on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    number: u64,
    sn: u32,
    target: Id,
    content: Content,
    /// Items in all, and pages that were sent.
    total: u64,
    sent: u64,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    Catalog,
    /// The hours since 1970 from the first one on, cut to this span in seconds.
    Records {
        first: i64,
        span: (i64, i64),
    },
}

impl Device {
    /// Answers a catalog query.
    pub(super) fn catalog(&mut self, now: Now, sn: u32) {
        let times = if self.settings.has(Quirk::DupChannels) { 2 } else { 1 };
        self.list(now, sn, self.id, Content::Catalog, self.population.items() * times);
    }

    /// Answers a RecordInfo query: there is a recording of each hour that has passed.
    pub(super) fn records(&mut self, now: Now, body: &manscdp::Message, target: Id) {
        let time = |name| body.body.text_of(name).and_then(|text| parse_gb(text, ZONE));
        let asked = body.body.text_of("Type").unwrap_or("all");
        let start = time("StartTime").map_or(0, UnixMillis::seconds).max(0);
        let end = time("EndTime").map_or(i64::MAX, UnixMillis::seconds).min(now.unix.seconds());
        let first = start.div_euclid(HOUR);
        let fits = end > start && (asked.eq_ignore_ascii_case("all") || asked.eq_ignore_ascii_case("time"));
        let total = if fits { ((end - 1).div_euclid(HOUR) - first + 1).unsigned_abs() } else { 0 };
        let content = Content::Records { first, span: (start, end) };
        self.list(now, body.sn, target, content, total.min(MAX_RECORDS));
    }

    fn list(&mut self, now: Now, sn: u32, target: Id, content: Content, total: u64) {
        let (sn, target) = self.addressed(sn, target);
        self.lists = self.lists.wrapping_add(1);
        if self.pages.len() >= MAX_LISTS {
            self.pages.pop_front();
        }
        let list = List { number: self.lists, sn, target, content, total, sent: 0 };
        self.pages.push_back(list);
        self.next_page(now, list.number);
        while self.settings.has(Quirk::Burst) && self.pages.iter().any(|open| open.number == list.number) {
            self.next_page(now, list.number);
        }
    }

    /// Sends the next page of a list; each waits for the 200 to the one before.
    pub(super) fn next_page(&mut self, now: Now, number: u64) {
        let page_size = self.settings.page.max(1) as u64;
        let Some(at) = self.pages.iter().position(|list| list.number == number) else { return };
        let Some(list) = self.pages.get_mut(at) else { return };
        // A list of nothing has one page, too.
        let pages = list.total.div_ceil(page_size).max(1);
        if self.settings.has(Quirk::PageDrop) && list.sent == 1 && matches!(list.content, Content::Catalog) {
            list.sent += 1;
        }
        if list.sent >= pages {
            self.pages.remove(at);
            return;
        }
        let reversed = self.settings.has(Quirk::ReversedPages) && matches!(list.content, Content::Catalog);
        let page = if reversed { pages - 1 - list.sent } else { list.sent };
        list.sent += 1;
        let list = *list;
        let items = page * page_size..((page + 1) * page_size).min(list.total);
        let text = match list.content {
            Content::Catalog => self.catalog_page(&list, items),
            Content::Records { first, span } => self.record_page(&list, first, span, items),
        };
        self.message(now, &text, Purpose::Page(number));
    }

    fn catalog_page(&self, list: &List, items: std::ops::Range<u64>) -> String {
        let announced = match list.total {
            total if self.settings.has(Quirk::WrongSumNum) => total + 2,
            total if self.settings.has(Quirk::SmallSumNum) => total.saturating_sub(2),
            _ if self.settings.has(Quirk::ZeroSumNum) => 0,
            total => total,
        };
        let count = self.population.items();
        let items: Vec<CatalogItem> = items.filter_map(|index| self.item(index % count.max(1))).collect();
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        let edition = self.settings.edition;
        let text = write::response_catalog(list.sn, &list.target, announced, &items, edition);
        if self.settings.has(Quirk::NullFields) {
            return text.replace("<Owner>gbgate</Owner>", "<Owner>null</Owner><Block>null</Block>");
        }
        text
    }

    /// Item number `index` of the catalog as it stands; `None` if it was taken out.
    pub(super) fn item(&self, index: u64) -> Option<CatalogItem> {
        let mut item = self.population.item(index);
        if let Some(state) = self.states.get(&item.id) {
            match state.condition {
                Condition::Gone => return None,
                Condition::Off => item.status = Some(false),
                Condition::On => {}
            }
            if let Some(name) = &state.name {
                item.name.clone_from(name);
            }
        }
        if self.settings.has(Quirk::LastOff) && index + 1 == self.population.items() {
            item.status = Some(false);
        }
        Some(item)
    }

    fn record_page(
        &self,
        list: &List,
        first: i64,
        (start, end): (i64, i64),
        items: std::ops::Range<u64>,
    ) -> String {
        let channel = self.population.position(&list.target).unwrap_or(0);
        let name = self.population.camera(channel).name;
        write::body(Root::Response, "RecordInfo", list.sn, &list.target, |w| {
            w.field("Name", &name);
            w.value("SumNum", list.total);
            if items.is_empty() {
                return;
            }
            w.element("RecordList", &[("Num", &(items.end - items.start).to_string())], |w| {
                for index in items {
                    let hour = (first + index as i64) * HOUR;
                    let span = (hour.max(start), (hour + HOUR).min(end));
                    write_record(w, &list.target, &name, hour, span);
                }
            });
        })
    }
}

fn write_record(w: &mut Writer, target: &Id, name: &str, hour: i64, (start, end): (i64, i64)) {
    let time = |seconds: i64| gb_seconds(UnixMillis(seconds.saturating_mul(1_000)), ZONE);
    w.element("Item", &[], |w| {
        w.field("DeviceID", target.as_str());
        w.field("Name", name);
        w.field("FilePath", &format!("/record/{hour}"));
        w.field("Address", "村口");
        w.field("StartTime", &time(start));
        w.field("EndTime", &time(end));
        w.value("Secrecy", 0);
        w.field("Type", "time");
        w.field("RecorderID", target.as_str());
        w.value("FileSize", (end - start).saturating_mul(BYTES_A_SECOND));
    });
}
