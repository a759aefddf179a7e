//! The text of predicted classes in a row: a base-36 digit for each sentence, as ever; where a class has no such digit,
//! decimal numbers, each with a space behind it. `?` is no prediction.

use crate::record::NO_PREDICTION;

const RADIX: u32 = 36;
const NONE: char = '?';

/// The text of these predictions.
pub fn to_text(predictions: &[u8]) -> String {
    let known = |class: u8| (class != NO_PREDICTION).then_some(u32::from(class));
    if predictions.iter().all(|&class| known(class).is_none_or(|class| class < RADIX)) {
        let digit = |&class: &u8| known(class).and_then(|class| char::from_digit(class, RADIX)).unwrap_or(NONE);
        return predictions.iter().map(digit).collect();
    }
    predictions.iter().map(|&class| known(class).map_or(format!("{NONE} "), |class| format!("{class} "))).collect()
}

/// The predictions of such a text; `None` is no prediction.
pub fn of_text(text: &str) -> Vec<Option<u32>> {
    if text.contains(' ') {
        return text.split_whitespace().map(|number| number.parse().ok()).collect();
    }
    text.chars().map(|digit| digit.to_digit(RADIX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_no_prediction_come_back() {
        assert_eq!(to_text(&[0, 1, 10, 35, NO_PREDICTION]), "01az?");
        assert_eq!(of_text("01az?"), [Some(0), Some(1), Some(10), Some(35), None]);
        assert_eq!(to_text(&[36]), "36 ", "one number is no two digits");
        let all: Vec<u8> = (0..=NO_PREDICTION).collect();
        let back = of_text(&to_text(&all));
        assert_eq!(back[..255], (0..255).map(Some).collect::<Vec<_>>());
        assert_eq!((back[255], back.len()), (None, 256));
    }
}
