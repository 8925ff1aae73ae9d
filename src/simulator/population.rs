//! What is below a simulated device: its channels, and the tree that they stand in. Nothing is stored for them, so
//! that a platform of a hundred thousand takes no more than a camera.

use crate::gb::id::Id;
use crate::gb::manscdp::CatalogItem;

/// Digits that [`Id::nth`] counts in.
const SERIAL: u32 = 7;
/// Districts of the tree's city.
const DISTRICTS: u64 = 4;
/// Business groups of the tree.
const GROUPS: u64 = 2;
/// Channels of a leaf organisation, and leaf organisations of an upper one.
const PER_LEAF: u64 = 50;
const PER_UPPER: u64 = 10;

/// The items of a device's catalog.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    /// The device.
    pub device: Id,
    /// Its first channel; the others follow.
    pub first: Id,
    /// How many there are.
    pub channels: u64,
    /// Whether they stand in a tree of regions, business groups and virtual organisations.
    pub tree: bool,
    /// Whether a loudspeaker and an alarm input are listed.
    pub extras: bool,
}

impl Population {
    /// Channel number `index`.
    pub fn channel(&self, index: u64) -> Id {
        self.first.nth(index)
    }

    /// Which channel has this id.
    pub fn position(&self, id: &Id) -> Option<u64> {
        if *id == self.first {
            return Some(0);
        }
        let modulus = 10_u64.pow(SERIAL);
        let (prefix, serial) = split(id)?;
        let (own, first) = split(&self.first)?;
        let index = (serial + modulus - first) % modulus;
        (prefix == own && index < self.channels).then_some(index)
    }

    /// The alarm input, or else the device.
    pub fn alarm_input(&self) -> Id {
        if self.extras { self.coded("134", 1) } else { self.device }
    }

    /// The loudspeaker, or else the device.
    pub fn speaker(&self) -> Id {
        if self.extras { self.coded("137", 1) } else { self.device }
    }

    /// How many items the catalog has.
    pub fn items(&self) -> u64 {
        self.above() + self.channels
    }

    /// Item number `index` of the catalog: parents before children.
    pub fn item(&self, index: u64) -> CatalogItem {
        match index.checked_sub(self.above()) {
            Some(channel) => self.camera(channel),
            None => self.upper(index),
        }
    }

    /// The item of channel number `index`.
    pub fn camera(&self, index: u64) -> CatalogItem {
        let id = self.channel(index);
        let mut item = CatalogItem {
            manufacturer: Some("gbgate".to_owned()),
            model: Some("Simulator".to_owned()),
            owner: Some("gbgate".to_owned()),
            civil_code: id.as_str().get(..6).and_then(|code| Id::parse(code).ok()),
            address: Some(format!("村口 {}", index + 1)),
            parent_ids: vec![self.device],
            status: Some(true),
            longitude: Some(117.0 + (index % 1_000) as f64 / 1_000.0),
            latitude: Some(31.8 + (index / 1_000) as f64 / 1_000.0),
            ptz_type: Some(1),
            ..CatalogItem::new(id, &format!("摄像机 {}", serial(&id)))
        };
        if self.tree {
            let leaf = index / PER_LEAF;
            let group = (leaf / PER_UPPER) % GROUPS;
            item.civil_code = Some(self.district(index % DISTRICTS));
            // The mixtures that are met: a device and an organisation, a region alone, an organisation alone, and
            // nothing but the business group.
            match index % 4 {
                0 => {
                    item.parent_ids = vec![self.device, self.leaf(leaf)];
                    item.business_group = Some(self.group(group));
                }
                1 => {}
                2 => item.parent_ids = vec![self.leaf(leaf)],
                _ => {
                    item.parent_ids.clear();
                    item.business_group = Some(self.group(group));
                }
            }
        }
        item
    }

    fn leaves(&self) -> u64 {
        self.channels.div_ceil(PER_LEAF).max(1)
    }

    fn uppers(&self) -> u64 {
        self.leaves().div_ceil(PER_UPPER)
    }

    /// Items above the channels.
    fn above(&self) -> u64 {
        let tree = if self.tree { 1 + DISTRICTS + GROUPS + self.uppers() + self.leaves() } else { 0 };
        tree + if self.extras { 2 } else { 0 }
    }

    fn upper(&self, index: u64) -> CatalogItem {
        let index = match (self.extras, index) {
            (true, 0) => return self.part("137", "喇叭"),
            (true, 1) => return self.part("134", "报警输入"),
            (true, _) => index - 2,
            (false, _) => index,
        };
        let (districts, groups) = (1, 1 + DISTRICTS);
        let uppers = groups + GROUPS;
        let leaves = uppers + self.uppers();
        if index == 0 {
            return CatalogItem::new(self.city(), "示例市");
        }
        if index < groups {
            return CatalogItem::new(self.district(index - districts), &format!("第{index}区"));
        }
        if index < uppers {
            let group = index - groups;
            return CatalogItem {
                civil_code: Some(self.city()),
                parent_ids: vec![self.device],
                ..CatalogItem::new(self.group(group), &format!("业务分组 {}", group + 1))
            };
        }
        let upper = |number: u64| self.coded("216", number + 1);
        let in_group = |number: u64| Some(self.group(number % GROUPS));
        if index < leaves {
            // Its parent is the group: it has no ParentID.
            let number = index - uppers;
            let item = CatalogItem::new(upper(number), &format!("组织 {}", number + 1));
            return CatalogItem { business_group: in_group(number), ..item };
        }
        let number = index - leaves;
        CatalogItem {
            parent_ids: vec![upper(number / PER_UPPER)],
            business_group: in_group(number / PER_UPPER),
            ..CatalogItem::new(self.leaf(number), &format!("小组 {}", number + 1))
        }
    }

    /// A part of the device itself.
    fn part(&self, kind: &str, name: &str) -> CatalogItem {
        CatalogItem {
            manufacturer: Some("gbgate".to_owned()),
            model: Some("Simulator".to_owned()),
            owner: Some("gbgate".to_owned()),
            civil_code: Some(self.city()),
            address: Some("村口".to_owned()),
            parent_ids: vec![self.device],
            ..CatalogItem::new(self.coded(kind, 1), name)
        }
    }

    fn city(&self) -> Id {
        let code = self.device.as_str().get(..6).unwrap_or_default();
        Id::parse(code).unwrap_or(self.device)
    }

    fn district(&self, number: u64) -> Id {
        Id::parse(&format!("{}{:02}", self.city(), number + 1)).unwrap_or(self.device)
    }

    fn group(&self, number: u64) -> Id {
        self.coded("215", number + 1)
    }

    fn leaf(&self, number: u64) -> Id {
        // Behind all upper ones.
        self.coded("216", 100_000 + number)
    }

    /// An id of another kind in the device's domain.
    fn coded(&self, kind: &str, serial: u64) -> Id {
        let (text, digits) = (self.device.as_str(), self.device.is_standard());
        let code = text.get(..10).filter(|_| digits).map(|center| format!("{center}{kind}{serial:07}"));
        code.and_then(|code| Id::parse(&code).ok()).unwrap_or(self.device)
    }
}

/// The serial number in an id, without leading zeros.
pub(super) fn serial(id: &Id) -> &str {
    id.as_str().get(14..).unwrap_or_default().trim_start_matches('0')
}

fn split(id: &Id) -> Option<(&str, u64)> {
    let text = id.as_str();
    let (prefix, serial) = text.split_at_checked(text.len().checked_sub(SERIAL as usize)?)?;
    Some((prefix, serial.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn platform(channels: u64) -> Population {
        Population {
            device: Id::parse("34020000002000000002").unwrap(),
            first: Id::parse("34020000001310000001").unwrap(),
            channels,
            tree: true,
            extras: true,
        }
    }

    #[test]
    fn a_channel_is_found_by_its_id() {
        let population = platform(100_000);
        for index in [0, 1, 99_999] {
            assert_eq!(population.position(&population.channel(index)), Some(index));
        }
        assert_eq!(population.position(&population.channel(100_000)), None);
        assert_eq!(population.position(&Id::parse("34020000001320000001").unwrap()), None);
        assert_eq!(population.position(&Id::parse("340200").unwrap()), None);
    }

    #[test]
    fn a_tree_names_parents_before_children_and_nothing_twice() {
        let population = platform(1_200);
        let mut seen = HashSet::from([population.device]);
        for index in 0..population.items() {
            let item = population.item(index);
            for parent in item.parent_ids.iter().chain(item.business_group.as_ref()) {
                assert!(seen.contains(parent), "{} stands before its parent {parent}", item.id);
            }
            assert!(seen.insert(item.id), "{} twice", item.id);
        }
        assert_eq!(seen.len() as u64, population.items() + 1);
    }

    #[test]
    fn a_recorder_lists_its_channels_alone() {
        let population = Population { tree: false, extras: false, ..platform(8) };
        assert_eq!(population.items(), 8);
        assert_eq!(population.item(7).id, population.channel(7));
    }
}
