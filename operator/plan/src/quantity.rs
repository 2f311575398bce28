//! Owns the conversion of Kubernetes quantities into bytes. Accepts what the API server accepts for memory and
//! storage.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The quantity in whole bytes, rounded up; `None` if the text is not a quantity, is negative, or exceeds 64 bits.
#[must_use]
pub(crate) fn bytes(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let digits_end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (numerator, denominator) = decimal(number)?;
    let (multiplier, divisor) = factor(suffix)?;
    assert!(denominator > 0 && divisor > 0, "a quantity is divided by what it was written with");
    let product = numerator.checked_mul(multiplier)?;
    u64::try_from(product.div_ceil(denominator.checked_mul(divisor)?)).ok()
}

/// A decimal number as numerator and denominator: `1.25` becomes 125 and 100.
fn decimal(text: &str) -> Option<(u128, u128)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some((whole.checked_mul(denominator)?.checked_add(part)?, denominator))
}

/// The factor of a quantity's suffix, as numerator and denominator.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    let shift = |bits: u32| Some((1_u128 << bits, 1));
    let power = |exponent: u32| Some((10_u128.pow(exponent), 1));
    match suffix {
        "" => Some((1, 1)),
        "m" => Some((1, 1000)),
        "k" => power(3),
        "M" => power(6),
        "G" => power(9),
        "T" => power(12),
        "P" => power(15),
        "E" => power(18),
        "Ki" => shift(10),
        "Mi" => shift(20),
        "Gi" => shift(30),
        "Ti" => shift(40),
        "Pi" => shift(50),
        "Ei" => shift(60),
        _ => {
            let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.trim_start_matches('+').parse().ok()?;
            if exponent > 18 { None } else { power(exponent) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_have_the_meaning_of_kubernetes() {
        let cases = [
            ("0", Some(0)),
            ("128974848", Some(128_974_848)),
            ("129e6", Some(129_000_000)),
            ("129M", Some(129_000_000)),
            ("123Mi", Some(123 << 20)),
            ("1.5Gi", Some(3 << 29)),
            (".5Ki", Some(512)),
            ("100m", Some(1)),
            ("10Gi", Some(10 << 30)),
            ("-1", None),
            ("", None),
            ("ten", None),
            ("1Zi", None),
            ("1.2.3", None),
            ("99999999999E", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(bytes(&Quantity(text.to_owned())), wanted, "{text:?}");
        }
    }
}
