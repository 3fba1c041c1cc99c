//! How types lead to each other: relationships, and nesting that must end.

use super::Checker;
use crate::schema::suggest::suggest;
use crate::schema::syntax::Field;
use crate::schema::table::{Attributes, Role, Shape, Type};

impl<'s> Checker<'s> {
    pub(super) fn check_relationships(&mut self, attributes: &[Attributes]) {
        for index in 0..self.written.len() {
            for field in &self.written[index].definition.fields {
                let Some(attribute) = attributes[index].get(&field.name.value) else { continue };
                let Role::Relationship { from, to } = &attribute.role else { continue };
                let Some(target) = self.table_of(&attribute.ty) else { continue };
                self.check_end(index, field, "from", from.as_deref(), index, &attributes[index]);
                self.check_end(index, field, "to", to.as_deref(), target, &attributes[target]);
            }
        }
    }

    /// One end of a relationship: `name` must be a stored attribute of the type `of`.
    fn check_end(
        &mut self,
        index: usize,
        field: &'s Field,
        argument: &str,
        name: Option<&str>,
        of: usize,
        there: &Attributes,
    ) {
        let Some(name) = name else { return };
        let stored = || there.iter().filter(|attribute| attribute.role.is_stored()).map(|attribute| &*attribute.name);
        if stored().any(|attribute| attribute == name) {
            return;
        }
        let written = field.directives.iter().flat_map(|directive| &directive.arguments);
        let mut spans = written.filter(|(key, _)| key.value == argument).map(|(_, value)| &value.span);
        let span = spans.next().unwrap_or(&field.name.span);
        let message = format!("`{}` has no stored attribute `{name}`", self.written[of].definition.name.value);
        let help = suggest(name, stored()).map(|close| format!("did you mean `{close}`?"));
        self.report(index, span, message).help = help;
    }

    /// A type that requires itself, over however many others, can have no document.
    pub(super) fn check_cycles(&mut self, attributes: &[Attributes]) {
        let required = |from: usize| {
            attributes[from].iter().filter(|attribute| attribute.role == Role::Plain).filter_map(|attribute| {
                match attribute.ty {
                    Type { shape: Shape::Object { index, .. }, required: true } => Some(index as usize),
                    _ => None,
                }
            })
        };
        // Repeatedly set aside types that require none of those left; what remains requires itself.
        let mut left: Vec<bool> = vec![true; attributes.len()];
        let mut waiting: Vec<usize> = (0..attributes.len()).map(|index| required(index).count()).collect();
        let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); attributes.len()];
        for index in 0..attributes.len() {
            required(index).for_each(|other| needed_by[other].push(index));
        }
        let mut free: Vec<usize> = (0..attributes.len()).filter(|&index| waiting[index] == 0).collect();
        while let Some(index) = free.pop() {
            left[index] = false;
            for &other in &needed_by[index] {
                waiting[other] -= 1;
                if waiting[other] == 0 {
                    free.push(other);
                }
            }
        }
        let Some(first) = left.iter().position(|left| *left) else { return };
        // Walking on among what is left ends in a circle.
        let mut path = vec![first];
        let circle = loop {
            let last = path[path.len() - 1];
            let next = required(last).find(|&next| left[next]).expect("each type left requires another left");
            match path.iter().position(|&seen| seen == next) {
                Some(start) => break path.split_off(start),
                None => path.push(next),
            }
        };
        let name = |index: usize| self.written[index].definition.name.value.as_str();
        let words: Vec<_> = circle.iter().chain(&circle[..1]).map(|&index| format!("`{}`", name(index))).collect();
        let message = format!("no document could ever be complete: {}", words.join(" requires "));
        let span = &self.written[circle[0]].definition.name.span;
        self.report(circle[0], span, message).help = Some("leave out a `!`".to_owned());
    }
}
