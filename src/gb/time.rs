//! Time as the standard writes it. Fields of MANSCDP and the Date header of a REGISTER's 200 (clause 9.10) are
//! local time without a zone, Beijing time unless configured otherwise; the world outside gets RFC 3339.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use thiserror::Error;

const DAY: i64 = 86_400_000;
/// 0000-01-01 and the end of 9999-12-31, the years that four digits can say; others are written as these.
const FIRST: i64 = -62_167_219_200_000;
const LAST: i64 = 253_402_300_799_999;

/// Farthest from UTC that a zone may be, in minutes.
const MAX_OFFSET: i32 = 18 * 60;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// A wall-clock instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// `2024-05-01T08:00:00.000+08:00`.
    pub fn to_rfc3339(self, offset: Offset) -> String {
        format!("{}{offset}", gb_date_time(self, offset))
    }

    /// Whole seconds since 1970, as in the `t=` line of an SDP (which the standard counts from 1970 too).
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// What a shell hands to a state machine along with an input: both clocks, read once.
#[derive(Copy, Clone, Debug)]
pub struct Now {
    /// For intervals and timers.
    pub instant: Instant,
    /// For what is shown, kept or sent.
    pub unix: UnixMillis,
}

/// A time zone as minutes east of UTC; Beijing time by default. China has no daylight saving time.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Offset {
    minutes: i32,
}

impl Offset {
    pub const UTC: Offset = Offset { minutes: 0 };
    pub const BEIJING: Offset = Offset { minutes: 8 * 60 };

    fn millis(self) -> i64 {
        i64::from(self.minutes) * 60_000
    }
}

impl Default for Offset {
    fn default() -> Offset {
        Offset::BEIJING
    }
}

/// A zone that is not of the form `+08:00`.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Error)]
#[error("a time zone is Z or of the form +08:00")]
pub struct BadOffset;

impl FromStr for Offset {
    type Err = BadOffset;

    /// Takes `Z`, `UTC`, `GMT`, `+08:00`, `+0800` and `+8`.
    fn from_str(text: &str) -> Result<Offset, BadOffset> {
        let text = text.trim();
        if ["Z", "UTC", "GMT"].iter().any(|name| text.eq_ignore_ascii_case(name)) {
            return Ok(Offset::UTC);
        }
        let (sign, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (1, rest),
            Some(("-", rest)) => (-1, rest),
            _ => return Err(BadOffset),
        };
        let (hours, minutes) = match (rest.split_once(':'), rest.len()) {
            (Some(pair), _) => pair,
            (None, 4) => rest.split_at_checked(2).ok_or(BadOffset)?,
            (None, _) => (rest, "0"),
        };
        let number = |digits: &str| number(digits, 2).ok_or(BadOffset);
        let (hours, minutes) = (number(hours)? as i32, number(minutes)? as i32);
        let total = hours * 60 + minutes;
        if minutes > 59 || total > MAX_OFFSET {
            return Err(BadOffset);
        }
        Ok(Offset { minutes: sign * total })
    }
}

impl TryFrom<String> for Offset {
    type Error = BadOffset;

    fn try_from(text: String) -> Result<Offset, BadOffset> {
        text.parse()
    }
}

impl From<Offset> for String {
    fn from(offset: Offset) -> String {
        offset.to_string()
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.minutes == 0 {
            return f.write_str("Z");
        }
        let (sign, minutes) = if self.minutes < 0 { ('-', -self.minutes) } else { ('+', self.minutes) };
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// `2024-05-01T08:00:00.000`, local time: the Date header of clause 9.10.
pub fn gb_date_time(at: UnixMillis, offset: Offset) -> String {
    let c = Civil::of(at, offset);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}",
        c.year, c.month, c.day, c.hour, c.minute, c.second, c.millis
    )
}

/// `2024-05-01T08:00:00`, local time: dateTime of annex A.
pub fn gb_seconds(at: UnixMillis, offset: Offset) -> String {
    let c = Civil::of(at, offset);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

/// `Wed, 01 May 2024 00:00:00 GMT`: the Date header of RFC 3261.
pub fn rfc1123(at: UnixMillis) -> String {
    let c = Civil::of(at, Offset::UTC);
    let name = |names: &'static [&str], index: i64| names.get(index as usize).copied().unwrap_or_default();
    format!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        name(&WEEKDAYS, c.weekday),
        c.day,
        name(&MONTHS, c.month - 1),
        c.year,
        c.hour,
        c.minute,
        c.second
    )
}

/// Reads a time as devices write it: `2024-05-01T08:00:00`, with a blank in place of the T, with a fraction, with
/// a zone (else `offset`), or after RFC 1123. `None` where it is none of these or no date of the calendar.
pub fn parse_gb(text: &str, offset: Offset) -> Option<UnixMillis> {
    let text = text.trim();
    match text.split_once(',') {
        Some((_weekday, rest)) => parse_rfc1123(rest.trim()),
        None => parse_iso(text, offset),
    }
}

fn parse_iso(text: &str, offset: Offset) -> Option<UnixMillis> {
    let (date, clock) = text.split_once(['T', 't', ' '])?;
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let clock = clock.trim_start();
    let (clock, offset) = match clock.find(['Z', 'z', '+', '-']) {
        Some(at) => (clock.get(..at)?.trim_end(), clock.get(at..)?.parse().ok()?),
        None => (clock, offset),
    };
    if date.next().is_some() {
        return None;
    }
    civil_to_unix(year, month, day, clock, offset)
}

fn parse_rfc1123(text: &str) -> Option<UnixMillis> {
    let mut words = text.split_ascii_whitespace();
    let day = number(words.next()?, 2)?;
    let name = words.next()?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(name))? as i64 + 1;
    let year = number(words.next()?, 4)?;
    let clock = words.next()?;
    let offset = words.next().map_or(Some(Offset::UTC), |zone| zone.parse().ok())?;
    civil_to_unix(year, month, day, clock, offset)
}

/// Up to `digits` decimal digits and nothing else.
fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() <= digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn civil_to_unix(year: i64, month: i64, day: i64, clock: &str, offset: Offset) -> Option<UnixMillis> {
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.split(':');
    let (hour, minute) = (number(clock.next()?, 2)?, number(clock.next()?, 2)?);
    let second = clock.next().map_or(Some(0), |s| number(s, 2))?;
    // A leap second is said by some; it is the last second of its minute here.
    if clock.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let millis = fraction.bytes().chain([b'0'; 3]).take(3).fold(0, |sum, b| sum * 10 + i64::from(b - b'0'));
    let days = days_from_civil(year, month, day)?;
    let time = ((hour * 60 + minute) * 60 + second.min(59)) * 1000 + millis;
    Some(UnixMillis(days * DAY + time - offset.millis()))
}

/// A date of the proleptic Gregorian calendar and a time of day.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    millis: i64,
    /// 0 is Sunday.
    weekday: i64,
}

impl Civil {
    fn of(at: UnixMillis, offset: Offset) -> Civil {
        let local = at.0.saturating_add(offset.millis()).clamp(FIRST, LAST);
        let (days, time) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        // Years are counted from March, so that the leap day is the last of its year, in eras of 400 years.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: time / 3_600_000,
            minute: time / 60_000 % 60,
            second: time / 1000 % 60,
            millis: time % 1000,
            weekday: (days + 4).rem_euclid(7),
        }
    }
}

/// Days since 1970-01-01, or `None` where there is no such day.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(0..=9999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-05-01 08:00 in Beijing.
    const MAY: UnixMillis = UnixMillis(1_714_521_600_000);

    #[test]
    fn writes_all_forms() {
        assert_eq!(gb_date_time(MAY, Offset::BEIJING), "2024-05-01T08:00:00.000");
        assert_eq!(gb_seconds(MAY, Offset::BEIJING), "2024-05-01T08:00:00");
        assert_eq!(rfc1123(MAY), "Wed, 01 May 2024 00:00:00 GMT");
        assert_eq!(MAY.to_rfc3339(Offset::BEIJING), "2024-05-01T08:00:00.000+08:00");
        assert_eq!(MAY.to_rfc3339(Offset::UTC), "2024-05-01T00:00:00.000Z");
        assert_eq!(gb_seconds(UnixMillis(-1), Offset::UTC), "1969-12-31T23:59:59");
        assert_eq!(gb_seconds(UnixMillis(i64::MAX), Offset::BEIJING), "9999-12-31T23:59:59");
        assert_eq!(gb_seconds(UnixMillis(i64::MIN), Offset::UTC), "0000-01-01T00:00:00");
    }

    #[test]
    fn reads_what_devices_write() {
        for text in [
            "2024-05-01T08:00:00",
            " 2024-05-01 08:00:00 ",
            "2024-05-01T08:00:00.000",
            "2024-5-1 8:00",
            "2024-05-01T00:00:00Z",
            "2024-05-01T08:00:00+08:00",
            "2024-05-01T08:00:00.000 +0800",
            "2024-04-30T19:00:00-05:00",
            "Wed, 01 May 2024 00:00:00 GMT",
            "Wed, 1 may 2024 08:00:00 +0800",
        ] {
            assert_eq!(parse_gb(text, Offset::BEIJING), Some(MAY), "{text}");
        }
        assert_eq!(parse_gb("2024-02-29T12:00:00.1239", Offset::UTC), Some(UnixMillis(1_709_208_000_123)));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2024-05-01",
            "2023-02-29T00:00:00",
            "2024-13-01T00:00:00",
            "2024-05-01T24:00:00",
            "2024-05-01T08:00:00.x",
            "2024-05-01T08:00:00+99:00",
            "-024-05-01T08:00:00",
            "Wed, 01 Mai 2024 00:00:00 GMT",
            "99999-05-01T08:00:00",
        ] {
            assert_eq!(parse_gb(text, Offset::BEIJING), None, "{text}");
        }
    }

    #[test]
    fn zones() {
        for (text, minutes) in [("Z", 0), ("+08:00", 480), ("-0330", -210), ("+8", 480), ("utc", 0)] {
            assert_eq!(text.parse(), Ok(Offset { minutes }), "{text}");
        }
        for text in ["", "8", "+", "+08:60", "+19:00", "+é", "+-8:00", "+08:00:00"] {
            assert_eq!(text.parse::<Offset>(), Err(BadOffset), "{text}");
        }
        assert_eq!(serde_json::to_string(&Offset::BEIJING).unwrap(), "\"+08:00\"");
        assert_eq!(serde_json::from_str::<Offset>("\"-03:30\"").unwrap(), Offset { minutes: -210 });
    }

    proptest! {
        #[test]
        fn written_and_read_again(millis in FIRST + DAY..LAST - DAY, minutes in -MAX_OFFSET..=MAX_OFFSET) {
            let (at, offset) = (UnixMillis(millis), Offset { minutes });
            prop_assert_eq!(parse_gb(&gb_date_time(at, offset), offset), Some(at));
            prop_assert_eq!(parse_gb(&at.to_rfc3339(offset), Offset::UTC), Some(at));
            let whole = UnixMillis(at.seconds() * 1000);
            prop_assert_eq!(parse_gb(&rfc1123(at), offset), Some(whole));
            prop_assert_eq!(offset.to_string().parse(), Ok(offset));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9TZ:. +,a-c-]{0,40}|\\PC*") {
            let _ = (parse_gb(&text, Offset::BEIJING), text.parse::<Offset>());
        }
    }
}
