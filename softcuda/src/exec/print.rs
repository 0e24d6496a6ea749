//! The text of a device's `printf`: C's conversions over a buffer of arguments.

/// What formatting asks of the argument buffer.
pub(super) trait Arguments {
    /// Why an argument cannot be read.
    type Error;
    /// The next argument of 4 or 8 bytes, aligned to its size.
    fn next(&mut self, bytes: u32) -> Result<u64, Self::Error>;
    /// The characters at an address, up to a zero.
    fn text(&mut self, address: u64) -> Result<Vec<u8>, Self::Error>;
}

/// Flags, width and precision of a conversion.
#[derive(Clone, Debug, Default)]
struct Specification {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    /// Bits of an integer argument.
    bits: u32,
}

/// Appends the formatted text to `out` and returns how many arguments it took.
pub(super) fn format<A: Arguments>(format: &[u8], arguments: &mut A, out: &mut Vec<u8>) -> Result<u32, A::Error> {
    let mut taken = 0;
    let mut rest = format;
    while let Some(start) = rest.iter().position(|&byte| byte == b'%') {
        out.extend(&rest[..start]);
        let mut at = start + 1;
        let mut specification = Specification { bits: 32, ..Specification::default() };
        while let Some(flag) = rest.get(at) {
            match flag {
                b'-' => specification.left = true,
                b'+' => specification.plus = true,
                b' ' => specification.space = true,
                b'#' => specification.alternate = true,
                b'0' => specification.zero = true,
                _ => break,
            }
            at += 1;
        }
        let mut number = |at: &mut usize| -> Result<i64, A::Error> {
            if rest.get(*at) == Some(&b'*') {
                *at += 1;
                taken += 1;
                return Ok(i64::from(arguments.next(4)? as i32));
            }
            let mut value = 0;
            while let Some(digit @ b'0'..=b'9') = rest.get(*at) {
                // No text is longer than this.
                value = (10 * value + i64::from(digit - b'0')).min(1 << 20);
                *at += 1;
            }
            Ok(value)
        };
        let width = number(&mut at)?;
        specification.left |= width < 0;
        specification.width = width.unsigned_abs().min(1 << 20) as usize;
        if rest.get(at) == Some(&b'.') {
            at += 1;
            // A negative precision counts as none.
            specification.precision = usize::try_from(number(&mut at)?).ok().map(|precision| precision.min(1 << 20));
        }
        let length = at;
        while rest.get(at).is_some_and(|byte| b"hlLqjzt".contains(byte)) {
            at += 1;
        }
        specification.bits = match &rest[length..at] {
            b"hh" => 8,
            b"h" => 16,
            b"" => 32,
            _ => 64,
        };
        let Some(&conversion) = rest.get(at) else {
            out.extend(&rest[start..]);
            return Ok(taken);
        };
        at += 1;
        let argument_bytes = if specification.bits == 64 { 8 } else { 4 };
        match conversion {
            b'%' => out.push(b'%'),
            b'd' | b'i' => {
                let shift = 64 - specification.bits;
                let value = (arguments.next(argument_bytes)? << shift) as i64 >> shift;
                specification.integer(value.unsigned_abs().to_string(), value < 0, true, "", out);
            }
            b'u' | b'o' | b'x' | b'X' => {
                let value = arguments.next(argument_bytes)? & u64::MAX >> (64 - specification.bits);
                specification.unsigned(conversion, value, out);
            }
            b'c' => specification.pad(vec![arguments.next(4)? as u8], out),
            b'p' => {
                let digits = format!("{:x}", arguments.next(8)?);
                specification.integer(digits, false, false, "0x", out);
            }
            b's' => {
                let address = arguments.next(8)?;
                let mut text = if address == 0 { b"(null)".to_vec() } else { arguments.text(address)? };
                text.truncate(specification.precision.unwrap_or(usize::MAX));
                specification.pad(text, out);
            }
            b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A' => {
                specification.float(conversion, f64::from_bits(arguments.next(8)?), out);
            }
            // What C does not know stands as it is.
            _ => {
                out.extend(&rest[start..at]);
                rest = &rest[at..];
                continue;
            }
        }
        taken += u32::from(conversion != b'%');
        rest = &rest[at..];
    }
    out.extend(rest);
    Ok(taken)
}

impl Specification {
    /// Text in its field, filled with spaces.
    fn pad(&self, text: Vec<u8>, out: &mut Vec<u8>) {
        let fill = self.width.saturating_sub(text.len());
        if !self.left {
            out.extend(std::iter::repeat_n(b' ', fill));
        }
        out.extend(&text);
        if self.left {
            out.extend(std::iter::repeat_n(b' ', fill));
        }
    }

    /// A sign or prefix and digits, filled with zeros between them where that is asked for.
    fn number(&self, prefix: &str, digits: &str, zeros: bool, out: &mut Vec<u8>) {
        let fill = self.width.saturating_sub(prefix.len() + digits.len());
        let zeros = if zeros && !self.left { fill } else { 0 };
        self.pad(format!("{prefix}{}{digits}", "0".repeat(zeros)).into_bytes(), out);
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        }
    }

    fn integer(&self, mut digits: String, negative: bool, signed: bool, prefix: &str, out: &mut Vec<u8>) {
        if let Some(precision) = self.precision {
            if precision == 0 && digits == "0" {
                digits.clear();
            }
            digits.insert_str(0, &"0".repeat(precision.saturating_sub(digits.len())));
        }
        let prefix = if signed { self.sign(negative) } else { prefix };
        self.number(prefix, &digits, self.zero && self.precision.is_none(), out);
    }

    fn unsigned(&self, conversion: u8, value: u64, out: &mut Vec<u8>) {
        let (mut digits, prefix) = match conversion {
            b'o' => (format!("{value:o}"), ""),
            b'x' => (format!("{value:x}"), "0x"),
            b'X' => (format!("{value:X}"), "0X"),
            _ => (value.to_string(), ""),
        };
        let prefix = if self.alternate && value != 0 { prefix } else { "" };
        // `#` makes an octal number begin with a zero, even where the precision leaves no digit.
        if self.alternate && conversion == b'o' && !digits.starts_with('0') {
            digits.insert(0, '0');
        }
        if self.alternate && conversion == b'o' && value == 0 && self.precision == Some(0) {
            return self.number("", "0", false, out);
        }
        self.integer(digits, false, false, prefix, out);
    }

    fn float(&self, conversion: u8, value: f64, out: &mut Vec<u8>) {
        let sign = self.sign(value.is_sign_negative());
        let upper = conversion.is_ascii_uppercase();
        let case = |text: String| if upper { text.to_ascii_uppercase() } else { text };
        let magnitude = value.abs();
        if !magnitude.is_finite() {
            let text = if magnitude.is_nan() { "nan" } else { "inf" };
            return self.number(sign, &case(text.to_owned()), false, out);
        }
        let (prefix, digits) = match conversion.to_ascii_lowercase() {
            b'f' => ("", self.fixed(magnitude, self.precision.unwrap_or(6))),
            b'e' => ("", self.scientific(magnitude, self.precision.unwrap_or(6))),
            b'g' => ("", self.general(magnitude)),
            _ => ("0x", self.hexadecimal(magnitude)),
        };
        self.number(&format!("{sign}{}", case(prefix.to_owned())), &case(digits), self.zero, out);
    }

    fn fixed(&self, value: f64, precision: usize) -> String {
        let point = if precision == 0 && self.alternate { "." } else { "" };
        format!("{value:.precision$}{point}")
    }

    fn scientific(&self, value: f64, precision: usize) -> String {
        let text = format!("{value:.precision$e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let point = if precision == 0 && self.alternate { "." } else { "" };
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}{point}e{sign}{:02}", exponent.abs())
    }

    /// `%g`: the shorter of `%e` and `%f` with so many significant digits, without trailing zeros.
    fn general(&self, value: f64) -> String {
        let precision = self.precision.unwrap_or(6).max(1);
        // The exponent after rounding decides.
        let rounded = format!("{value:.*e}", precision - 1);
        let exponent: i32 = rounded.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
        let text = if exponent < -4 || exponent >= precision as i32 {
            self.scientific(value, precision - 1)
        } else {
            self.fixed(value, (precision as i32 - 1 - exponent) as usize)
        };
        if self.alternate {
            return text;
        }
        let (digits, exponent) = match text.find('e') {
            Some(at) => text.split_at(at),
            None => (text.as_str(), ""),
        };
        let digits = match digits.contains('.') {
            true => digits.trim_end_matches('0').trim_end_matches('.'),
            false => digits,
        };
        format!("{digits}{exponent}")
    }

    /// `%a` behind its `0x`.
    fn hexadecimal(&self, value: f64) -> String {
        let bits = value.to_bits();
        let (mut fraction, biased) = (bits & ((1 << 52) - 1), (bits >> 52) as i32 & 0x7ff);
        let exponent = if value == 0.0 { 0 } else { biased.max(1) - 1023 };
        let mut leading = u64::from(biased != 0);
        let digits = match self.precision {
            Some(precision) if precision < 13 => {
                // Round to nearest, ties to even, over the leading digit and the fraction.
                let drop = 4 * (13 - precision as u32);
                let whole = leading << 52 | fraction;
                let (kept, lost, half) = (whole >> drop, whole & ((1 << drop) - 1), 1 << (drop - 1));
                let kept = kept + u64::from(lost > half || lost == half && kept & 1 == 1);
                leading = kept >> (52 - drop);
                fraction = kept & ((1 << (52 - drop)) - 1);
                if precision == 0 { String::new() } else { format!("{fraction:0precision$x}") }
            }
            Some(precision) => format!("{fraction:013x}{}", "0".repeat(precision - 13)),
            None => format!("{fraction:013x}").trim_end_matches('0').to_owned(),
        };
        let point = if digits.is_empty() && !self.alternate { "" } else { "." };
        format!("{leading}{point}{digits}p{exponent:+}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments that are given as they are.
    struct Given<'a>(&'a [u64]);

    impl Arguments for Given<'_> {
        type Error = ();
        fn next(&mut self, _: u32) -> Result<u64, ()> {
            let (&first, rest) = self.0.split_first().ok_or(())?;
            self.0 = rest;
            Ok(first)
        }
        fn text(&mut self, _: u64) -> Result<Vec<u8>, ()> {
            Ok(b"abc".to_vec())
        }
    }

    fn printed(text: &str, arguments: &[u64]) -> String {
        let mut out = Vec::new();
        let taken = format(text.as_bytes(), &mut Given(arguments), &mut out).expect("enough arguments");
        assert_eq!(taken as usize, arguments.len(), "{text}");
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn texts_integers_and_what_is_no_conversion() {
        assert_eq!(printed("a%%b %d%i", &[5, 7]), "a%b 57");
        assert_eq!(printed("[%5s|%-5s|%.2s]", &[1, 1, 1]), "[  abc|abc  |ab]");
        assert_eq!(printed("%c%3c", &[65, 66]), "A  B");
        assert_eq!(printed("%hhd %hd %d %lld", &[255, 0x18000, u64::from(u32::MAX), u64::MAX]), "-1 -32768 -1 -1");
        assert_eq!(printed("%*d|%-*d|%.*f", &[4, 7, 4, 7, 1, 2.25f64.to_bits()]), "   7|7   |2.2");
        assert_eq!(printed("%y %k 100%", &[]), "%y %k 100%");
        assert_eq!(printed("%s", &[0]), "(null)");
        assert_eq!(printed("%p", &[0x7000_1234]), "0x70001234");
        let [one, carry] = [1f64, 999_999.5].map(f64::to_bits);
        assert_eq!(printed("%#g %#g %#.0g", &[one, carry, one]), "1.00000 1.00000e+06 1.");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn numbers_come_out_as_in_c() {
        let mut count = 0;
        let mut check = |specification: String, argument: u64, is_float: bool| {
            let format = std::ffi::CString::new(specification.clone()).expect("no zero");
            let mut buffer = [0u8; 2048];
            // SAFETY: the buffer has the length given, and the one conversion of the format takes the one argument.
            let length = unsafe {
                let to = buffer.as_mut_ptr().cast();
                match is_float {
                    true => libc::snprintf(to, buffer.len(), format.as_ptr(), f64::from_bits(argument)),
                    false => libc::snprintf(to, buffer.len(), format.as_ptr(), argument),
                }
            };
            let expected = String::from_utf8_lossy(&buffer[..length as usize]).into_owned();
            assert_eq!(printed(&specification, &[argument]), expected, "{specification} of {argument:#x}");
            count += 1;
        };
        let floats = [
            0.0,
            -0.0,
            1.0,
            -1.5,
            0.1,
            9.995,
            99999.95,
            999999.5,
            1e6,
            123456.789,
            1e-4,
            0.00009999995,
            1e-5,
            5e-324,
            2.5e-310,
            f64::MAX,
            f64::MIN_POSITIVE,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            1e22,
            0.5,
            1.5,
            2.5,
            1.96875,
        ];
        for flags in ["", "-", "+", " ", "#", "0", "+0", "-#", " 0#"] {
            for width in ["", "1", "12", "30"] {
                for precision in ["", ".", ".0", ".1", ".3", ".15", ".25"] {
                    for conversion in ["f", "F", "e", "E", "g", "G", "a", "A"] {
                        for value in floats {
                            // glibc writes 999999.5 as 1.e+06 here, without the zeros that `#` asks for.
                            if flags.contains('#') && conversion.eq_ignore_ascii_case("g") {
                                continue;
                            }
                            check(format!("%{flags}{width}{precision}{conversion}"), value.to_bits(), true);
                        }
                    }
                    for conversion in ["d", "i", "u", "o", "x", "X", "lld", "llu", "llx", "lo", "hd", "hhu", "hx"] {
                        for value in [0u64, 1, 7, 42, 255, 65_535, 1 << 31, u64::MAX, 1 << 63, 0x1234_5678_9abc_def0] {
                            check(format!("%{flags}{width}{precision}{conversion}"), value, false);
                        }
                    }
                }
            }
        }
        assert!(count > 50_000, "{count}");
    }
}
