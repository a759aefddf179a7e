//! Formats numbers for readers: significant digits, units, powers of ten. An undefined value never becomes a digit.

/// Thin space between groups of three digits.
const GROUP: char = '\u{2009}';
const SUPERSCRIPTS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
const MINUS: char = '−';

/// Decimals that show `digits` significant digits of `x`, at most 6.
pub fn decimals(x: f64, digits: i32) -> usize {
    if x == 0.0 || !x.is_finite() {
        return 0;
    }
    (digits - 1 - x.abs().log10().floor() as i32).clamp(0, 6) as usize
}

/// Fixed-point with `decimals` decimals; five and more integer digits are grouped.
pub fn fixed(x: f64, decimals: usize) -> String {
    if !x.is_finite() {
        return x.to_string();
    }
    let text = format!("{:.decimals$}", x.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut out = String::new();
    // A value that rounds to zero has no sign.
    if x < 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        out.push(MINUS);
    }
    out.push_str(&grouped(whole));
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// Fixed-point with `digits` significant digits.
pub fn significant(x: f64, digits: i32) -> String {
    fixed(x, decimals(x, digits))
}

/// A whole number with its digits grouped.
pub fn count(n: u64) -> String {
    grouped(&n.to_string())
}

/// An estimate and its interval with the same decimals: `41.23` and `[41.10, 41.40]`.
pub fn with_interval(x: f64, interval: Option<(f64, f64)>, digits: i32) -> (String, Option<String>) {
    let decimals = decimals(x, digits);
    (fixed(x, decimals), interval.map(|(low, high)| format!("[{}, {}]", fixed(low, decimals), fixed(high, decimals))))
}

/// `2.3×10⁻⁶`; plain zero for zero.
pub fn scientific(x: f64) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    let text = format!("{x:.1e}");
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let power: String = exponent
        .chars()
        .map(|c| c.to_digit(10).and_then(|digit| SUPERSCRIPTS.get(digit as usize)).copied().unwrap_or('⁻'))
        .collect();
    format!("{}×10{power}", mantissa.replace('-', &MINUS.to_string()))
}

/// Fixed-point between 0.001 and 10 000, a power of ten elsewhere.
pub fn magnitude(x: f64) -> String {
    if x == 0.0 || (1e-3..1e4).contains(&x.abs()) { significant(x, 3) } else { scientific(x) }
}

/// A cosine, truncated to 7 decimals. It is never rounded, so a value below a limit never shows as the limit.
pub fn cosine(x: f64) -> String {
    fixed((x * 1e7).floor() / 1e7, 7)
}

/// The same with five decimals, for prose.
pub fn short_cosine(x: f64) -> String {
    fixed((x * 1e5).floor() / 1e5, 5)
}

/// Distance of a cosine from 1. Rounding may push a cosine above 1 by a few units in the last place; the distance is
/// then 0.
pub fn cosine_distance(x: f64) -> f64 {
    (1.0 - x).max(0.0)
}

/// A share as a percentage. Only a share of exactly 0 or 1 shows as `0 %` or `100 %`.
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    let text = if value == 0.0 || value == 100.0 { fixed(value, 0) } else { fixed(value, 1) };
    match text.as_str() {
        "0.0" => format!("{} %", magnitude(value)),
        "100.0" => "> 99.9 %".to_owned(),
        _ => format!("{text} %"),
    }
}

/// Bytes in MiB.
pub fn mebibytes(bytes: u64) -> String {
    significant(bytes as f64 / (1 << 20) as f64, 4)
}

/// `80.0 GiB`
pub fn gibibytes(bytes: u64) -> String {
    format!("{} GiB", fixed(bytes as f64 / (1_u64 << 30) as f64, 1))
}

/// `1 row`, `3 rows`.
pub fn plural(n: usize, noun: &str) -> String {
    format!("{} {}", count(n as u64), self::noun(n, noun))
}

/// `second`, `third`: an ordinal in words, or in digits beyond `tenth`.
pub fn ordinal(n: usize) -> String {
    const WORDS: [&str; 10] =
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
    let ending = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    n.checked_sub(1)
        .and_then(|index| WORDS.get(index))
        .map_or_else(|| format!("{n}{ending}"), |word| (*word).to_owned())
}

/// `row`, `rows`.
pub fn noun(n: usize, noun: &str) -> String {
    if n == 1 { noun.to_owned() } else { format!("{noun}s") }
}

fn grouped(digits: &str) -> String {
    if digits.len() < 5 {
        return digits.to_owned();
    }
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(GROUP);
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_follow_the_size_of_the_number() {
        let shown: Vec<String> = [0.04123, 1.5, 41.234, 1234.5, 123_456.7].map(|x| significant(x, 4)).into();
        assert_eq!(shown, ["0.04123", "1.500", "41.23", "1234", "123\u{2009}457"]);
        assert_eq!(with_interval(41.234, Some((41.1, 41.4)), 4), ("41.23".into(), Some("[41.10, 41.40]".into())));
        assert_eq!((fixed(-0.001, 1), fixed(-1.5, 1)), ("0.0".into(), "−1.5".into()));
    }

    #[test]
    fn small_numbers_keep_their_power_of_ten() {
        assert_eq!(
            (scientific(2.34e-6), scientific(-1e12), scientific(0.0)),
            ("2.3×10⁻⁶".into(), "−1.0×10¹²".into(), "0".into())
        );
        assert_eq!((magnitude(0.5), magnitude(5e-4)), ("0.500".into(), "5.0×10⁻⁴".into()));
    }

    #[test]
    fn rounding_never_crosses_a_limit() {
        assert_eq!(cosine(0.999_799_99), "0.9997999");
        assert_eq!((percent(0.0), percent(1.0), percent(0.999_999)), ("0 %".into(), "100 %".into(), "> 99.9 %".into()));
        assert_eq!((percent(1e-6), percent(0.125)), ("1.0×10⁻⁴ %".into(), "12.5 %".into()));
        assert_eq!(cosine_distance(1.000_000_000_2), 0.0);
    }
}
