//! Money: `Usd` is a whole number of 10⁻¹² USD in 128 bits, from the wire to the wire.
//!
//! There are no binary floats. Digits beyond the twelfth decimal are rounded half to even once, on parsing; all later
//! arithmetic is exact.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// Units of 10⁻¹² USD in one USD.
const PICO: i128 = 1_000_000_000_000;
/// Decimal places kept.
const PLACES: i32 = 12;
/// Largest amount accepted: 10¹⁵ USD. Sums of 10¹¹ such amounts still fit 128 bits.
const MAX_PICO: i128 = 1_000_000_000_000_000 * PICO;

/// An amount in whole 10⁻¹² USD; negative only as a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(i128);

/// Why a string is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseUsdError {
    /// Not `-?digits[.digits][e±digits]`.
    #[error("not a decimal number")]
    NotANumber,
    /// Beyond ±10¹⁵ USD.
    #[error("beyond 10^15 USD")]
    TooLarge,
}

impl Usd {
    pub const ZERO: Usd = Usd(0);

    /// Creates an amount from whole 10⁻¹² USD.
    pub const fn from_pico(pico: i128) -> Usd {
        Usd(pico)
    }

    /// Creates an amount from whole USD.
    pub const fn from_dollars(dollars: i64) -> Usd {
        Usd(dollars as i128 * PICO)
    }

    /// Returns the amount in whole 10⁻¹² USD.
    pub const fn pico(self) -> i128 {
        self.0
    }

    /// Parses a JSON number or decimal string, exponent included. Digits beyond the twelfth decimal are rounded half to
    /// even.
    pub fn parse(text: &str) -> Result<Usd, ParseUsdError> {
        Usd::parse_scaled(text, 0)
    }

    /// Parses a number of cents: `20417.3508` is 204.173508 USD.
    pub fn parse_cents(text: &str) -> Result<Usd, ParseUsdError> {
        Usd::parse_scaled(text, -2)
    }

    /// `text × 10^shift`.
    fn parse_scaled(text: &str, shift: i64) -> Result<Usd, ParseUsdError> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = split_exponent(unsigned)?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let has_empty_fraction = mantissa.ends_with('.');
        if whole.is_empty() || has_empty_fraction || !is_digits(whole) || !is_digits(fraction) {
            return Err(ParseUsdError::NotANumber);
        }
        let digits: Vec<u8> = whole
            .bytes()
            .chain(fraction.bytes())
            .map(|byte| byte - b'0')
            .collect();
        let fraction_places =
            i64::try_from(fraction.len()).map_err(|_| ParseUsdError::NotANumber)?;
        let pico = scale(
            &digits,
            i64::from(PLACES) + shift + exponent - fraction_places,
        )?;
        Ok(Usd(if negative { -pico } else { pico }))
    }

    /// Formats with two decimals (rounded half to even) and thousands separators: `1,234.50`.
    pub fn grouped(self) -> String {
        let cents = self.cents();
        let Some(point) = cents.find('.') else {
            return cents;
        };
        let (sign, digits) = match cents[..point].strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", &cents[..point]),
        };
        format!("{sign}{}{}", group_thousands(digits), &cents[point..])
    }

    /// Formats with two decimals, rounded half to even: `1234.50`.
    pub fn cents(self) -> String {
        let cents = div_half_even(self.0, PICO / 100);
        let sign = if cents < 0 { "-" } else { "" };
        let cents = cents.unsigned_abs();
        format!("{sign}{}.{:02}", cents / 100, cents % 100)
    }

    /// Returns the absolute amount.
    #[must_use]
    pub fn abs(self) -> Usd {
        Usd(self.0.abs())
    }
}

/// Prints all digits without trailing zeros: `4213.5`, `0`, `-0.000001`.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unsigned = self.0.unsigned_abs();
        let scale = PICO.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (unsigned / scale, unsigned % scale);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:012}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Add for Usd {
    type Output = Usd;
    fn add(self, other: Usd) -> Usd {
        Usd(self.0 + other.0)
    }
}

impl Sub for Usd {
    type Output = Usd;
    fn sub(self, other: Usd) -> Usd {
        Usd(self.0 - other.0)
    }
}

impl Neg for Usd {
    type Output = Usd;
    fn neg(self) -> Usd {
        Usd(-self.0)
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Usd) {
        self.0 += other.0;
    }
}

impl SubAssign for Usd {
    fn sub_assign(&mut self, other: Usd) {
        self.0 -= other.0;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(amounts: I) -> Usd {
        amounts.fold(Usd::ZERO, Add::add)
    }
}

/// A percentage in whole millionths of a percent: `80%` is 80,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(i64);

/// Millionths of a percent in 100%.
const WHOLE: i128 = 100_000_000;

impl Percent {
    pub const HUNDRED: Percent = Percent(100_000_000);

    /// Creates a percentage from whole percent.
    pub const fn from_whole(percent: i32) -> Percent {
        Percent(percent as i64 * 1_000_000)
    }

    /// Parses `80%` or `99.5%`: above 0, at most 100,000%, with up to six decimals.
    pub fn parse(text: &str) -> Option<Percent> {
        let digits = text.trim().strip_suffix('%')?.trim_end();
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_shaped = !whole.is_empty() && whole.len() <= 6 && fraction.len() <= 6;
        if !is_shaped || digits.ends_with('.') || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let millionths: i64 = format!("{whole}{fraction:0<6}").parse().ok()?;
        (millionths > 0 && millionths <= 100_000 * 1_000_000).then_some(Percent(millionths))
    }

    /// Returns millionths of a percent.
    pub const fn millionths(self) -> i64 {
        self.0
    }

    /// Returns this percentage of a quantity, rounded half to even.
    pub fn of(self, quantity: i128) -> i128 {
        div_half_even(quantity * i128::from(self.0), WHOLE)
    }

    /// Returns this percentage of another percentage, rounded half to even.
    #[must_use]
    pub fn times(self, other: Percent) -> Percent {
        Percent(i64::try_from(other.of(i128::from(self.0))).unwrap_or(i64::MAX))
    }
}

/// Prints `80%`, `99.5%`.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", percent_digits(i128::from(self.0)))
    }
}

/// Formats millionths of a percent as a percentage with all digits: `8.1`, `-0.000001`.
pub fn percent_digits(millionths: i128) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let unsigned = millionths.unsigned_abs();
    let (whole, fraction) = (unsigned / 1_000_000, unsigned % 1_000_000);
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{fraction:06}");
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// Returns how far `value` is above `limit`, in percent with one decimal, rounded half to even: `12.5`. `None` for a
/// limit of 0.
pub fn overage_percent(limit: i128, value: i128) -> Option<String> {
    share_percent(limit, value - limit)
}

/// Returns `value` as a percentage of `limit` with one decimal, rounded half to even: `112.5`. `None` for a limit of 0.
pub fn share_percent(limit: i128, value: i128) -> Option<String> {
    (limit > 0).then(|| {
        let tenths = div_half_even(value * 1000, limit);
        let sign = if tenths < 0 { "-" } else { "" };
        let tenths = tenths.unsigned_abs();
        format!("{sign}{}.{}", tenths / 10, tenths % 10)
    })
}

/// Divides, rounding half to even. `divisor` must be above zero.
pub fn div_half_even(dividend: i128, divisor: i128) -> i128 {
    let (quotient, remainder) = (dividend.div_euclid(divisor), dividend.rem_euclid(divisor));
    match (remainder * 2).cmp(&divisor) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + quotient.rem_euclid(2),
    }
}

/// Inserts thousands separators into a string of digits: `1234567` → `1,234,567`.
pub fn group_thousands(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn split_exponent(text: &str) -> Result<(&str, i64), ParseUsdError> {
    let Some(at) = text.find(['e', 'E']) else {
        return Ok((text, 0));
    };
    let exponent = &text[at + 1..];
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseUsdError::NotANumber);
    }
    // Exponents of more than six digits exceed any amount; only their sign matters.
    let magnitude = digits.parse::<i64>().unwrap_or(1_000_000).min(1_000_000);
    Ok((
        &text[..at],
        if exponent.starts_with('-') {
            -magnitude
        } else {
            magnitude
        },
    ))
}

/// `digits × 10^shift`, rounded half to even.
fn scale(digits: &[u8], shift: i64) -> Result<i128, ParseUsdError> {
    let significant = digits
        .iter()
        .position(|digit| *digit != 0)
        .map_or(&[][..], |at| &digits[at..]);
    let n_significant = i64::try_from(significant.len()).map_err(|_| ParseUsdError::TooLarge)?;
    let n_kept = n_significant + shift;
    if significant.is_empty() || n_kept < 0 {
        return Ok(0);
    }
    if n_kept > 28 {
        return Err(ParseUsdError::TooLarge);
    }
    let n_kept = usize::try_from(n_kept).map_err(|_| ParseUsdError::TooLarge)?;
    let mut value: i128 = 0;
    for place in 0..n_kept {
        value = value * 10 + i128::from(significant.get(place).copied().unwrap_or(0));
    }
    let rest = significant.get(n_kept..).unwrap_or(&[]);
    let rounds_up = match rest.split_first() {
        None => false,
        Some((5, tail)) if tail.iter().all(|digit| *digit == 0) => value % 2 == 1,
        Some((first, _)) => *first >= 5,
    };
    value += i128::from(rounds_up);
    if value > MAX_PICO {
        Err(ParseUsdError::TooLarge)
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(digits: &str, expected: &str) {
        assert_eq!(
            Usd::parse(digits).map(|usd| usd.to_string()),
            Ok(expected.to_owned()),
            "{digits}"
        );
    }

    #[test]
    fn digits_are_parsed_exactly() {
        check("0", "0");
        check("-0", "0");
        check("12.5", "12.5");
        check("0.1", "0.1");
        check("-3.000001", "-3.000001");
        check("1e-7", "0.0000001");
        check("1.25E+3", "1250");
        check("123456789012.123456789012", "123456789012.123456789012");
        check("000012.50", "12.5");
        check("1e-999999999999", "0");
    }

    #[test]
    fn digits_beyond_the_twelfth_are_rounded_half_to_even_once() {
        check("0.0000000000005", "0");
        check("0.0000000000015", "0.000000000002");
        check("0.0000000000025", "0.000000000002");
        check("0.00000000000250001", "0.000000000003");
        check("0.00000000000049999", "0");
        check("9.9999999999999", "10");
    }

    #[test]
    fn invalid_amounts_are_rejected() {
        for text in [
            "", "-", ".5", "5.", "1e", "1e+", "NaN", "1,5", " 1", "--1", "0x1", "1.2.3",
        ] {
            assert_eq!(Usd::parse(text), Err(ParseUsdError::NotANumber), "{text}");
        }
        for text in ["1e16", "1e999999999999999999999", "1000000000000001"] {
            assert_eq!(Usd::parse(text), Err(ParseUsdError::TooLarge), "{text}");
        }
    }

    #[test]
    fn cents_are_hundredths() {
        let check = |cents: &str, expected: &str| {
            assert_eq!(Usd::parse_cents(cents).unwrap().to_string(), expected);
        };
        check("20417.3508", "204.173508");
        check("1", "0.01");
        check("0.0000000001", "0.000000000001");
        check("0.00000000005", "0");
        check("0.00000000015", "0.000000000002");
        check("-1830.25", "-18.3025");
        check("5e2", "5");
        assert!(Usd::parse_cents("1.").is_err() && Usd::parse_cents("").is_err());
    }

    #[test]
    fn cents_round_half_to_even() {
        assert_eq!(Usd::parse("0.005").map(Usd::cents), Ok("0.00".to_owned()));
        assert_eq!(Usd::parse("0.015").map(Usd::cents), Ok("0.02".to_owned()));
        assert_eq!(
            Usd::parse("-1234567.891").map(Usd::grouped),
            Ok("-1,234,567.89".to_owned())
        );
        assert_eq!(
            Usd::parse("999.995").map(Usd::grouped),
            Ok("1,000.00".to_owned())
        );
        assert_eq!(Usd::from_dollars(100).grouped(), "100.00");
    }

    #[test]
    fn percentages_are_parsed_and_compared() {
        assert_eq!(Percent::parse("80%"), Some(Percent::from_whole(80)));
        assert_eq!(
            Percent::parse("99.5%").map(|percent| percent.to_string()),
            Some("99.5%".to_owned())
        );
        assert_eq!(percent_digits(8_100_000), "8.1");
        assert_eq!(percent_digits(-1), "-0.000001");
        for text in [
            "80",
            "%",
            "-1%",
            "0%",
            "1e2%",
            "1.1234567%",
            "100001%",
            "5.%",
        ] {
            assert_eq!(Percent::parse(text), None, "{text}");
        }
        assert_eq!(overage_percent(2000, 2251), Some("12.6".to_owned()));
        assert_eq!(overage_percent(2000, 2249), Some("12.4".to_owned()));
        assert_eq!(overage_percent(0, 1), None);
    }

    proptest! {
        #[test]
        fn printed_amounts_parse_to_themselves(pico in -MAX_PICO..=MAX_PICO) {
            let usd = Usd::from_pico(pico);
            prop_assert_eq!(Usd::parse(&usd.to_string()), Ok(usd));
        }

        #[test]
        fn parsing_never_panics(text in "[-0-9.eE+]{0,60}") {
            let _ = Usd::parse(&text);
        }

        #[test]
        fn sums_do_not_depend_on_the_order(mut picos in prop::collection::vec(-MAX_PICO..=MAX_PICO, 0..40)) {
            let forward: Usd = picos.iter().map(|pico| Usd::from_pico(*pico)).sum();
            picos.reverse();
            let backward: Usd = picos.iter().map(|pico| Usd::from_pico(*pico)).sum();
            prop_assert_eq!(forward, backward);
        }
    }
}
