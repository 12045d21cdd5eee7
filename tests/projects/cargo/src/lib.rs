//! A till.

/// Adds.
///
/// ```
/// assert_eq!(till::add(1, 2), 3);
/// ```
pub fn add(a: i32, b: i32) -> i32 {
    a + b
}

#[cfg(test)]
mod tests {
    #[test]
    fn adds() {
        assert_eq!(super::add(1, 1), 2);
    }

    #[test]
    fn gives_change() {
        println!("counting");
        assert_eq!(super::add(1, 1), 3, "a coin is missing");
    }

    #[test]
    #[ignore = "no paper"]
    fn prints() {}

    #[test]
    #[should_panic]
    fn overflows() {
        panic!("too much");
    }
}
