//! The functions of expressions: which there are, what arguments they take, and the mathematics behind them.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use chrono::{Datelike, Timelike};
use chrono_tz::{TZ_VARIANTS, Tz};

use crate::time::Timestamp;

use super::check::{Checker, Typed};
use super::evaluate::{Code, Kind};
use super::syntax::{Node, NodeKind, Place};

/// The mean radius of the Earth (IUGG).
const EARTH_RADIUS_KM: f64 = 6_371.008_8;

/// A function of one float64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MathFunction {
    Exp,
    Log1p,
    Sqrt,
    Floor,
    Ceil,
    Round,
}

impl MathFunction {
    pub(super) fn apply(self, x: f64) -> f64 {
        match self {
            Self::Exp => x.exp(),
            Self::Log1p => x.ln_1p(),
            Self::Sqrt => x.sqrt(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round(),
        }
    }
}

/// What a local calendar and clock say of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocalPart {
    Hour,
    Weekday,
}

impl LocalPart {
    /// The part at `at` in `zone`; null outside the years the calendar knows.
    pub(super) fn of(self, at: Timestamp, zone: Tz) -> Option<i64> {
        let utc = at.to_chrono()?;
        // A day from the calendar's ends, local time might fall off them.
        utc.checked_add_days(chrono::Days::new(1))?;
        utc.checked_sub_days(chrono::Days::new(1))?;
        let local = utc.with_timezone(&zone);
        Some(match self {
            Self::Hour => i64::from(local.hour()),
            Self::Weekday => i64::from(local.weekday().num_days_from_monday()),
        })
    }
}

/// The length of the shortest way on the Earth's surface, by the haversine formula; null for latitudes there are not.
pub(super) fn great_circle_km([lat1, lon1, lat2, lon2]: [f64; 4]) -> Option<f64> {
    if lat1.abs() > 90.0 || lat2.abs() > 90.0 {
        return None;
    }
    let (lat1, lat2) = (lat1.to_radians(), lat2.to_radians());
    let half_lat = (lat2 - lat1) / 2.0;
    let half_lon = (lon2 - lon1).to_radians() / 2.0;
    let h = half_lat.sin().powi(2) + lat1.cos() * lat2.cos() * half_lon.sin().powi(2);
    // Rounding may lift h above 1 for opposite points.
    Some(2.0 * EARTH_RADIUS_KM * h.min(1.0).sqrt().asin())
}

/// A function by name.
#[derive(Debug, Clone, Copy)]
enum Function {
    Abs,
    Coalesce,
    Double,
    Extreme(Ordering),
    GreatCircle,
    Has,
    Int,
    Local(LocalPart),
    Math(MathFunction),
}

const FUNCTIONS: [(&str, Function); 16] = [
    ("abs", Function::Abs),
    ("ceil", Function::Math(MathFunction::Ceil)),
    ("coalesce", Function::Coalesce),
    ("double", Function::Double),
    ("exp", Function::Math(MathFunction::Exp)),
    ("floor", Function::Math(MathFunction::Floor)),
    ("great_circle_km", Function::GreatCircle),
    ("has", Function::Has),
    ("hour", Function::Local(LocalPart::Hour)),
    ("int", Function::Int),
    ("log1p", Function::Math(MathFunction::Log1p)),
    ("max", Function::Extreme(Ordering::Greater)),
    ("min", Function::Extreme(Ordering::Less)),
    ("round", Function::Math(MathFunction::Round)),
    ("sqrt", Function::Math(MathFunction::Sqrt)),
    ("weekday", Function::Local(LocalPart::Weekday)),
];

impl Function {
    /// How many arguments it takes.
    const fn arity(self) -> RangeInclusive<usize> {
        match self {
            Self::Abs | Self::Double | Self::Has | Self::Int | Self::Math(_) => 1..=1,
            Self::Local(_) => 2..=2,
            Self::GreatCircle => 4..=4,
            Self::Coalesce | Self::Extreme(_) => 2..=usize::MAX,
        }
    }
}

impl Checker<'_> {
    /// The call of `name`, checked, or `None` once an error is noted.
    pub(super) fn call(&mut self, name: &str, name_place: Place, place: Place, args: &[Node]) -> Option<Typed> {
        let Some((_, function)) = FUNCTIONS.iter().find(|(n, _)| *n == name) else {
            let known = FUNCTIONS.iter().map(|(n, _)| *n);
            let help = match nearest(name, known.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", known.collect::<Vec<_>>().join(", ")),
            };
            // Its arguments may be wrong too.
            self.all(args);
            return self.fail(name_place, format!("unknown function `{name}`: {help}"));
        };
        if !function.arity().contains(&args.len()) {
            let takes = match (*function.arity().start(), *function.arity().end()) {
                (1, 1) => "1 argument".to_owned(),
                (n, usize::MAX) => format!("{n} or more arguments"),
                (n, _) => format!("{n} arguments"),
            };
            return self.fail(place, format!("`{name}` takes {takes}, not {}", args.len()));
        }
        match *function {
            Function::Has => self.has(&args[0]),
            Function::Coalesce => {
                let typed = self.all(args)?;
                let (codes, kind) = self.unify(typed, args, "coalesce")?;
                Some(Typed {
                    code: Code::Coalesce(codes),
                    kind,
                })
            }
            Function::Extreme(wanted) => {
                let numbers = self.numbers(name, args)?;
                let (codes, kind) = self.unify(numbers, args, name)?;
                Some(Typed {
                    code: Code::Extreme(wanted, codes),
                    kind,
                })
            }
            Function::Abs => {
                let number = self.number(name, &args[0])?;
                Some(Typed {
                    code: Code::Abs(Box::new(number.code)),
                    kind: number.kind,
                })
            }
            Function::Int => {
                let number = self.number(name, &args[0])?;
                let code = match number.kind {
                    Some(Kind::Float) => Code::FloatToInt(Box::new(number.code)),
                    _ => number.code,
                };
                Some(Typed::of(Kind::Int, code))
            }
            Function::Double => self.number(name, &args[0]).map(Typed::into_float),
            Function::Math(function) => {
                let number = self.number(name, &args[0])?.into_float();
                Some(Typed::of(Kind::Float, Code::Math(function, Box::new(number.code))))
            }
            Function::Local(part) => self.local(name, part, args),
            Function::GreatCircle => {
                let degrees: Vec<Code> = self
                    .numbers(name, args)?
                    .into_iter()
                    .map(|n| n.into_float().code)
                    .collect();
                let degrees: [Code; 4] = degrees.try_into().ok()?;
                Some(Typed::of(Kind::Float, Code::GreatCircle(Box::new(degrees))))
            }
        }
    }

    /// `has` takes variables of every type.
    fn has(&mut self, of: &Node) -> Option<Typed> {
        if let NodeKind::Variable(name) = &of.kind
            && let Some((origin, value_type)) = self.resolve(name)
            && Kind::of(value_type).is_none()
        {
            return Some(Typed::of(Kind::Bool, Code::HasOpaque(origin)));
        }
        let of = self.node(of)?;
        Some(Typed::of(Kind::Bool, Code::Has(Box::new(of.code))))
    }

    fn local(&mut self, name: &str, part: LocalPart, args: &[Node]) -> Option<Typed> {
        let at = self.node(&args[0]);
        let at = match at {
            Some(Typed {
                kind: Some(Kind::Time),
                code,
            }) => Some(code),
            Some(other) => self.fail(
                args[0].place,
                format!("`{name}` takes a timestamp first, not {}", other.kind_name()),
            ),
            None => None,
        };
        let NodeKind::Text(zone_name) = &args[1].kind else {
            return self.fail(
                args[1].place,
                format!("`{name}` takes the time zone as a literal second, such as \"America/New_York\""),
            );
        };
        let Ok(zone) = zone_name.parse::<Tz>() else {
            let help = nearest(zone_name, TZ_VARIANTS.iter().map(|zone| zone.name())).map_or_else(
                || "write one such as \"America/New_York\" or \"UTC\"".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            return self.fail(args[1].place, format!("unknown time zone \"{zone_name}\": {help}"));
        };
        Some(Typed::of(Kind::Int, Code::Local(part, zone, Box::new(at?))))
    }

    fn numbers(&mut self, function: &str, args: &[Node]) -> Option<Vec<Typed>> {
        let numbers: Vec<_> = args.iter().map(|arg| self.number(function, arg)).collect();
        numbers.into_iter().collect()
    }

    fn number(&mut self, function: &str, arg: &Node) -> Option<Typed> {
        let typed = self.node(arg)?;
        match typed.kind {
            Some(kind) if kind.is_number() => Some(typed),
            Some(Kind::Bool) => self.fail(
                arg.place,
                format!("`{function}` takes numbers, not bool: write `condition ? 1 : 0`"),
            ),
            _ => self.fail(
                arg.place,
                format!("`{function}` takes numbers, not {}", typed.kind_name()),
            ),
        }
    }
}

/// The name most like `wrong`, whatever its capitals, if one is like it.
fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    // The part after the slash too: people write the city alone.
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let city = name.rsplit('/').next().unwrap_or(&name);
        strsim::jaro_winkler(&wrong, &name).max(strsim::jaro_winkler(&wrong, city))
    };
    let (near, likeness) = names
        .map(|name| (name, likeness(name)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (likeness >= 0.8).then_some(near)
}
