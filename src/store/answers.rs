//! The text of predicted classes in a row: a base-36 digit for each sentence, as ever; where a class has no such digit,
//! decimal numbers, each with a space behind it. `?` is no prediction.

const RADIX: u32 = 36;
const NONE: char = '?';

/// The text of these predictions; `None` is no prediction.
pub fn to_text(predictions: &[Option<u32>]) -> String {
    if predictions.iter().flatten().all(|&class| class < RADIX) {
        let digit = |class: &Option<u32>| class.and_then(|class| char::from_digit(class, RADIX)).unwrap_or(NONE);
        return predictions.iter().map(digit).collect();
    }
    predictions.iter().map(|class| class.map_or(format!("{NONE} "), |class| format!("{class} "))).collect()
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
        let few = [Some(0), Some(1), Some(10), Some(35), None];
        assert_eq!(to_text(&few), "01az?");
        assert_eq!(of_text("01az?"), few);
        assert_eq!(to_text(&[Some(36)]), "36 ", "one number is no two digits");
        let all: Vec<Option<u32>> = (0..1000).map(Some).chain([None]).collect();
        assert_eq!(of_text(&to_text(&all)), all);
    }
}
