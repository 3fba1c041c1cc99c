//! What somebody accepts (RFC 9110 §12.5.1).

/// An element of an `Accept`.
#[derive(Debug)]
pub struct MediaRange<'h> {
    /// `*`, or what stands before the slash.
    pub kind: &'h str,
    /// `*`, or what stands behind it.
    pub subtype: &'h str,
    /// How much it is liked, in thousandths; 0: not at all.
    pub quality: u16,
}

impl<'h> MediaRange<'h> {
    /// An element of the list; `None`: it is no media range.
    pub fn parse(element: &'h str) -> Option<MediaRange<'h>> {
        let mut parts = element.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let is_wild_alone = kind == "*" && subtype != "*";
        if kind.is_empty() || subtype.is_empty() || is_wild_alone {
            return None;
        }
        let mut quality = 1000;
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                quality = parse_quality(value.trim())?;
                break; // What follows belongs to an extension nobody uses.
            }
        }
        Some(MediaRange { kind, subtype, quality })
    }

    /// How closely it fits, if it does. Parameters other than `q` are not looked at: no answer here has variants.
    pub fn closeness(&self, kind: &str, subtype: &str) -> Option<u8> {
        if self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype) {
            Some(2)
        } else if self.kind.eq_ignore_ascii_case(kind) && self.subtype == "*" {
            Some(1)
        } else if self.kind == "*" {
            Some(0)
        } else {
            None
        }
    }
}

/// `0`, `0.5`, `1.000`: at most three digits after the point (RFC 9110 §12.4.2).
fn parse_quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}
