//! Figures for those who look after thousands of cameras: by region, what is out of order, and what departs
//! from the standard.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::{Entry, Index};
use super::journal::{Finding, Position};
use super::query::{BadCursor, ChannelState, Collector, Cursor, DeviceState, Page, beyond};
use super::slot::Common;
use crate::gb::conformance::Rule;
use crate::gb::id::Id;
use crate::gb::time::UnixMillis;

/// Regions or manufacturers that one answer has; what is beyond is counted with those that name none. Both are
/// what devices say, so there has to be an end.
const MAX_GROUPS: usize = 10_000;

/// How many channels of a region there are, and how many of them are online.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RegionTotals {
    /// The beginning of the civil code; `None`: channels without one.
    pub region: Option<String>,
    pub channels: u64,
    pub channels_online: u64,
}

/// Something that does not work.
#[derive(Clone, Debug)]
pub enum Fault<'a> {
    /// A device that is offline, with all its channels. Since it was last heard of; `None` if it never was.
    Device { device: DeviceState<'a>, since: Option<UnixMillis> },
    /// A channel whose device is online but says that the channel is not; since when, where that is known.
    Channel { channel: Box<ChannelState>, since: Option<UnixMillis> },
}

/// How often a rule is broken.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct RuleTotals {
    pub rule: Rule,
    pub devices: u64,
    pub count: u64,
    pub last: UnixMillis,
}

/// How the devices of a manufacturer keep to the standard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MakerTotals {
    /// As the devices name it; `None`: they do not.
    pub manufacturer: Option<String>,
    pub devices: u64,
    /// Those of them that break any rule.
    pub departing: u64,
    /// Each rule that is broken, in the order of the rules.
    pub rules: Vec<RuleTotals>,
}

/// How all devices keep to the standard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conformance {
    pub total: MakerTotals,
    /// In the order of their names.
    pub manufacturers: Vec<MakerTotals>,
}

impl Index {
    /// Channels by the first `digits` (2, 4, 6 or 8) of their civil code, in the order of the codes, those
    /// without a code last. `under` is the code or the beginning of one that all have. Takes one pass over all
    /// channels.
    pub fn online_by_region(&self, under: &str, digits: usize) -> Vec<RegionTotals> {
        let mut regions: BTreeMap<Id, (u64, u64)> = BTreeMap::new();
        let mut without = (0, 0);
        let mut count = |common: &Common, (channels, online): (u64, u64)| {
            let region = common.region.and_then(|region| civil_code(&region, digits));
            let room = regions.len() < MAX_GROUPS;
            let counts = match region {
                Some(region) if !region.as_str().starts_with(under) => return,
                Some(region) if room || regions.contains_key(&region) => regions.entry(region).or_default(),
                None if !under.is_empty() => return,
                _ => &mut without,
            };
            counts.0 += channels;
            counts.1 += online;
        };
        for entry in self.devices.values().filter(|entry| entry.listed > 0) {
            let online = entry.online();
            // Neighbours mostly share their region, so that they are looked up together.
            let mut run: Option<(&Arc<Common>, (u64, u64))> = None;
            for slot in entry.channels.values().filter(|slot| slot.is_channel()) {
                let works = u64::from(online && slot.status);
                match &mut run {
                    Some((common, counts)) if Arc::ptr_eq(common, &slot.common) => {
                        *counts = (counts.0 + 1, counts.1 + works);
                    }
                    _ => {
                        let ended = run.replace((&slot.common, (1, works)));
                        ended.into_iter().for_each(|(common, counts)| count(common, counts));
                    }
                }
            }
            run.into_iter().for_each(|(common, counts)| count(common, counts));
        }
        let named = regions.into_iter().map(|(region, counts)| (Some(region.to_string()), counts));
        let without = Some((None, without)).filter(|(_, (channels, _))| *channels > 0);
        named
            .chain(without)
            .map(|(region, (channels, channels_online))| RegionTotals { region, channels, channels_online })
            .collect()
    }

    /// A page of what does not work, in the order of ids: devices that are offline, and channels that are not
    /// working though their device is online. `limit` is kept between 1 and [`super::MAX_PAGE`].
    pub fn faults(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Fault<'_>>, BadCursor> {
        let after = cursor.map(Cursor::parse).transpose()?;
        let mut page = Collector::new(limit);
        page.total = self.faults;
        'devices: for (id, entry) in self.entries(None, after.map(|after| after.device)) {
            let after = after.filter(|after| after.device == *id);
            if !entry.online() {
                let here = Cursor { device: *id, channel: None };
                let fault = || Fault::Device { device: entry.state(), since: entry.last_seen };
                if after.is_none() && !page.offer(here, fault) {
                    break;
                }
                continue;
            }
            for (channel, since) in entry.bad.range(beyond(after.and_then(|after| after.channel))) {
                let Some(slot) = entry.channels.get(channel) else { continue };
                let here = Cursor { device: *id, channel: Some(*channel) };
                let fault = || {
                    let channel = Box::new(entry.channel_state(*channel, slot));
                    Fault::Channel { channel, since: *since }
                };
                if !page.offer(here, fault) {
                    break 'devices;
                }
            }
        }
        Ok(page.finish())
    }

    /// What is known of a device's departures from the standard, in the order of the rules.
    pub fn findings(&self, device: &Id) -> &[Finding] {
        self.devices.get(device).map_or(&[], |entry| &entry.findings)
    }

    /// How all devices keep to the standard. Takes one pass over them.
    pub fn conformance(&self) -> Conformance {
        let mut total = Tally::default();
        let mut makers: BTreeMap<&str, Tally> = BTreeMap::new();
        let mut unnamed = Tally::default();
        for entry in self.devices.values() {
            total.count(entry);
            let maker = entry.device.manufacturer.as_deref().map_or("", str::trim);
            let room = makers.len() < MAX_GROUPS || makers.contains_key(maker);
            let tally =
                if maker.is_empty() || !room { &mut unnamed } else { makers.entry(maker).or_default() };
            tally.count(entry);
        }
        let unnamed = Some(unnamed).filter(|tally| tally.devices > 0).map(|tally| tally.totals(None));
        let named = makers.into_iter().map(|(maker, tally)| tally.totals(Some(maker.to_owned())));
        Conformance { total: total.totals(None), manufacturers: named.chain(unnamed).collect() }
    }

    /// Where a channel, or the device itself, last said that it is.
    pub fn position(&self, device: &Id, channel: &Id) -> Option<Position> {
        self.devices.get(device)?.positions.get(channel).copied()
    }
}

#[derive(Default)]
struct Tally {
    devices: u64,
    departing: u64,
    rules: BTreeMap<Rule, RuleTotals>,
}

impl Tally {
    fn count(&mut self, entry: &Entry) {
        self.devices += 1;
        self.departing += u64::from(!entry.findings.is_empty());
        for finding in &entry.findings {
            let rule = finding.rule;
            let totals = self.rules.entry(rule).or_insert(RuleTotals {
                rule,
                devices: 0,
                count: 0,
                last: finding.last,
            });
            totals.devices += 1;
            totals.count = totals.count.saturating_add(finding.count);
            totals.last = totals.last.max(finding.last);
        }
    }

    fn totals(self, manufacturer: Option<String>) -> MakerTotals {
        let Tally { devices, departing, rules } = self;
        MakerTotals { manufacturer, devices, departing, rules: rules.into_values().collect() }
    }
}

/// The first digits of a civil code, or all of it if it is shorter; `None` if it is no number.
fn civil_code(region: &Id, digits: usize) -> Option<Id> {
    let code = region.as_str();
    let digits = code.get(..digits.min(code.len()))?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { Id::parse(digits).ok() } else { None }
}
