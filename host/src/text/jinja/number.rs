//! Arithmetic as Python's; whole numbers beyond 128 bits are an error.

use super::{Fault, ast::Operator};
use std::cmp::Ordering;

/// A number, where truth values are whole numbers.
#[derive(Clone, Copy)]
pub enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub fn float(self) -> f64 {
        match self {
            Self::Int(whole) => whole as f64,
            Self::Float(value) => value,
        }
    }

    /// The order of two numbers; None where one is not a number at all.
    pub fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (a, b) => a.float().partial_cmp(&b.float()),
        }
    }
}

/// An operator between two numbers.
pub fn arithmetic(operator: Operator, a: Number, b: Number) -> Result<Number, Fault> {
    use Operator::{Add, Div, FloorDiv, Mod, Mul, Pow, Sub};
    let zero = || Fault::new("division by zero");
    if let (Number::Int(a), Number::Int(b)) = (a, b)
        && operator != Div
        && !(operator == Pow && b < 0)
    {
        let whole = match operator {
            Add => a.checked_add(b),
            Sub => a.checked_sub(b),
            Mul => a.checked_mul(b),
            FloorDiv | Mod if b == 0 => return Err(zero()),
            // Python rounds down, and a remainder has the divisor's sign.
            FloorDiv => a.checked_div(b).map(|quotient| quotient - i128::from(a % b != 0 && (a < 0) != (b < 0))),
            Mod => a.checked_rem(b).map(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
            _ => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        };
        return whole.map(Number::Int).ok_or_else(|| Fault::new("a number is larger than 128 bits hold"));
    }
    let (a, b) = (a.float(), b.float());
    Ok(Number::Float(match operator {
        Add => a + b,
        Sub => a - b,
        Mul => a * b,
        Div | FloorDiv | Mod if b == 0.0 => return Err(zero()),
        Div => a / b,
        FloorDiv => divmod(a, b).0,
        Mod => divmod(a, b).1,
        Pow => match a.powf(b) {
            value if value.is_finite() || !a.is_finite() || !b.is_finite() => value,
            _ => return Err(Fault::new("a power is no number here")),
        },
    }))
}

/// Quotient and remainder as CPython's `float_divmod` has them: the remainder has the divisor's sign.
fn divmod(a: f64, b: f64) -> (f64, f64) {
    let mut rest = a % b;
    let mut quotient = (a - rest) / b;
    if rest == 0.0 {
        rest = 0f64.copysign(b);
    } else if (b < 0.0) != (rest < 0.0) {
        rest += b;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0f64.copysign(a / b), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}
