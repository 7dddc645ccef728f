//! The order in which the recurrent modules of a `state_dict` are stacked.

use super::state_dict::ModuleName;
use crate::error::{Error, Result};
use crate::messages::{did_you_mean, listed};

/// The most modules whose orders are searched.
const MOST_MODULES: usize = 12;
/// The most orders that are looked at, complete or not.
const MOST_STEPS: usize = 100_000;
/// The most modules that a message describes.
const MOST_DESCRIBED: usize = 20;

/// A recurrent module with the number of values that it reads and emits at each step.
pub(super) struct StackedModule<'a> {
    pub name: &'a ModuleName,
    pub reads: usize,
    pub emits: usize,
}

/// How the order of the modules was determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderReason {
    /// There is one module.
    Single,
    /// The caller gave it.
    Given,
    /// The numbers in names that are otherwise equal.
    Numbers,
    /// The sizes: no other order fits.
    Sizes,
}

/// Modules, and what decides whether an order of them is possible.
pub(super) struct Stacking<'a, F> {
    pub modules: &'a [StackedModule<'a>],
    /// Checks the first and the last module of an order against the rest of the `state_dict`.
    pub check_ends: F,
}

impl<F: Fn(&StackedModule, &StackedModule) -> Result<()>> Stacking<'_, F> {
    /// Returns the indices of the modules from the input up; `given` are their names in that order,
    /// if the caller knows it.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] of the field `order` if it names other modules, or if it is empty
    /// and several orders are possible; [`Error::Usage`] if sizes fit no order.
    pub fn order(&self, given: &[String]) -> Result<(Vec<usize>, OrderReason)> {
        if !given.is_empty() {
            let order = self.given_order(given)?;
            return Ok((order, OrderReason::Given));
        }
        let by_name: Vec<usize> = (0..self.modules.len()).collect();
        if by_name.len() == 1 {
            self.check(&by_name)?;
            return Ok((by_name, OrderReason::Single));
        }
        let first = self.modules[0].name;
        let mut names = self.modules.iter().map(|module| module.name);
        if names.all(|name| name.is_numbered_like(first)) && self.check(&by_name).is_ok() {
            return Ok((by_name, OrderReason::Numbers));
        }
        let mut search = Search::default();
        if by_name.len() <= MOST_MODULES {
            self.search(&mut vec![], &mut search);
        } else {
            search.is_cut_off = true;
        }
        match &search.found[..] {
            [] if !search.is_cut_off => Err(search.refusal.unwrap_or_else(|| self.fits_no_order())),
            [order] if !search.is_cut_off => Ok((order.clone(), OrderReason::Sizes)),
            found => {
                let mut in_order = found.iter().filter(|order| self.respects_numbers(order));
                match (in_order.next(), in_order.next()) {
                    (Some(order), None) if !search.is_cut_off => {
                        Ok((order.clone(), OrderReason::Numbers))
                    }
                    _ => Err(self.is_open(found)),
                }
            }
        }
    }

    /// The order that the caller gave.
    fn given_order(&self, given: &[String]) -> Result<Vec<usize>> {
        let index = |name: &String| self.modules.iter().position(|m| m.name.as_str() == name);
        let order: Option<Vec<usize>> = given.iter().map(index).collect();
        let mut sorted = order.clone().unwrap_or_default();
        sorted.sort_unstable();
        match order {
            Some(order) if sorted.iter().copied().eq(0..self.modules.len()) => {
                self.check(&order)?;
                Ok(order)
            }
            _ => {
                let names = self.names(0..self.modules.len());
                let unknown = given.iter().find(|name| !names.contains(&name.as_str()));
                let suggestion = unknown.map_or(String::new(), |name| did_you_mean(name, &names));
                Err(Error::invalid(
                    "order",
                    given.join(","),
                    format!(
                        "each of the recurrent modules once, from the input up and separated by \
                         commas; they are {}{suggestion}",
                        quoted(&names)
                    ),
                ))
            }
        }
    }

    fn names(&self, order: impl IntoIterator<Item = usize>) -> Vec<&str> {
        let names = order.into_iter().map(|n| self.modules[n].name.as_str());
        names.collect()
    }

    /// Checks that each module reads as many values as the one before emits, and the ends.
    fn check(&self, order: &[usize]) -> Result<()> {
        for pair in order.windows(2) {
            let [below, above] = [pair[0], pair[1]].map(|n| &self.modules[n]);
            if below.emits != above.reads {
                return Err(Error::usage(format!(
                    "{} reads {} values at each step, but {} below it emits {}",
                    above.name.quoted(),
                    above.reads,
                    below.name.quoted(),
                    below.emits
                )));
            }
        }
        let (first, last) = (order[0], order[order.len() - 1]);
        (self.check_ends)(&self.modules[first], &self.modules[last])
    }

    /// Adds to `search` every order that begins with `begun` and is possible.
    fn search(&self, begun: &mut Vec<usize>, search: &mut Search) {
        search.steps += 1;
        if search.steps > MOST_STEPS {
            search.is_cut_off = true;
            return;
        }
        if begun.len() == self.modules.len() {
            match self.check(begun) {
                Ok(()) => search.found.push(begun.clone()),
                Err(problem) => {
                    search.refusal.get_or_insert(problem);
                }
            }
            return;
        }
        for next in 0..self.modules.len() {
            let fits = |&last: &usize| self.modules[last].emits == self.modules[next].reads;
            if !begun.contains(&next) && begun.last().is_none_or(fits) {
                begun.push(next);
                self.search(begun, search);
                begun.pop();
            }
        }
    }

    /// Returns whether modules that are numbered alike are in the order of their numbers.
    fn respects_numbers(&self, order: &[usize]) -> bool {
        let name = |n: usize| self.modules[n].name;
        let mut pairs = order.iter().enumerate().flat_map(|(at, &first)| {
            let later = order[at + 1..].iter();
            later.map(move |&second| (first, second))
        });
        // Modules are sorted by name.
        pairs.all(|(a, b)| a < b || !name(a).is_numbered_like(name(b)))
    }

    fn is_open(&self, found: &[Vec<usize>]) -> Error {
        let all: Vec<usize> = (0..self.modules.len()).collect();
        let examples = if found.is_empty() { &[all][..] } else { found };
        let examples: Vec<String> = examples
            .iter()
            .take(2)
            .map(|order| self.names(order.iter().copied()).join(","))
            .collect();
        let examples: Vec<&str> = examples.iter().map(String::as_str).collect();
        Error::invalid(
            "order",
            "not set",
            format!(
                "the recurrent modules from the input up, as {}: their sizes fit several orders, \
                 and a state_dict does not say which one forward has (or whether they are side by \
                 side, which gatescan does not have)",
                listed(&examples)
            ),
        )
    }

    fn fits_no_order(&self) -> Error {
        let described = self.modules.iter().take(MOST_DESCRIBED).map(|module| {
            let (reads, emits) = (module.reads, module.emits);
            format!("{} reads {reads} and emits {emits}", module.name.quoted())
        });
        Error::usage(format!(
            "the recurrent modules cannot be stacked in any order, because each must read as many \
             values at each step as the one below it emits: {}; gatescan has stacked layers, not \
             modules side by side, and nothing between them",
            described.collect::<Vec<_>>().join(", ")
        ))
    }
}

/// Joins quoted names.
fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// A search for the possible orders.
#[derive(Default)]
struct Search {
    found: Vec<Vec<usize>>,
    /// Why the first order whose sizes fit is not possible.
    refusal: Option<Error>,
    steps: usize,
    /// Whether there may be orders that were not found.
    is_cut_off: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of modules with these sizes under a head that reads 4 values.
    fn order(
        modules: &[(&str, usize, usize)],
        given: &[&str],
    ) -> Result<(Vec<String>, OrderReason)> {
        let mut modules: Vec<(ModuleName, usize, usize)> = modules
            .iter()
            .map(|&(name, reads, emits)| (ModuleName::new(name), reads, emits))
            .collect();
        modules.sort();
        let modules: Vec<StackedModule> = modules
            .iter()
            .map(|(name, reads, emits)| StackedModule {
                name,
                reads: *reads,
                emits: *emits,
            })
            .collect();
        let check_ends = |_: &StackedModule, last: &StackedModule| match last.emits {
            4 => Ok(()),
            emits => Err(Error::usage(format!("the head reads 4, not {emits}"))),
        };
        let stacking = Stacking {
            modules: &modules,
            check_ends,
        };
        let given: Vec<String> = given.iter().map(|name| name.to_string()).collect();
        let (order, reason) = stacking.order(&given)?;
        let names = order.iter().map(|&n| modules[n].name.as_str().to_string());
        Ok((names.collect(), reason))
    }

    #[test]
    fn an_order_is_taken_only_if_no_other_is_possible() {
        let equal = [("encoder", 4, 4), ("decoder", 4, 4)];
        for (modules, given, expected, reason) in [
            (&[("a", 3, 4)][..], &[][..], "a", OrderReason::Single),
            (&[("b", 3, 5), ("a", 5, 4)], &[], "b,a", OrderReason::Sizes),
            // Only one end fits the head.
            (&[("a", 5, 4), ("b", 4, 5)], &[], "b,a", OrderReason::Sizes),
            (
                &[("l.10", 4, 4), ("l.9", 4, 4)],
                &[],
                "l.9,l.10",
                OrderReason::Numbers,
            ),
            (
                &[("l2", 3, 4), ("l1", 4, 4)],
                &[],
                "l2,l1",
                OrderReason::Sizes,
            ),
            (
                &[("l.0", 4, 4), ("l.1", 4, 4), ("in", 3, 4)],
                &[],
                "in,l.0,l.1",
                OrderReason::Numbers,
            ),
            (
                &equal,
                &["encoder", "decoder"],
                "encoder,decoder",
                OrderReason::Given,
            ),
        ] {
            let (names, why) = order(modules, given).expect(expected);
            assert_eq!((names.join(","), why), (expected.to_string(), reason));
        }
    }

    #[test]
    fn open_and_impossible_orders_are_refused() {
        let equal = [("encoder", 4, 4), ("decoder", 4, 4)];
        let many: Vec<String> = (0..14).map(|n| "x".repeat(n + 1)).collect();
        let many: Vec<(&str, usize, usize)> = many.iter().map(|name| (&name[..], 4, 4)).collect();
        for (modules, given, expected) in [
            (
                &equal[..],
                &[][..],
                "as `decoder,encoder` or `encoder,decoder`",
            ),
            (&equal, &["encoder"], "they are `decoder`, `encoder`"),
            (&equal, &["encoder", "encodr"], "did you mean `encoder`?"),
            (&equal, &["encoder", "encoder"], "order is encoder,encoder"),
            (
                &[("l.0", 4, 4), ("l.1", 4, 4), ("x", 4, 4)],
                &[],
                "their sizes fit several orders",
            ),
            (&many, &[], "their sizes fit several orders"),
            (&[("a", 3, 4), ("b", 3, 4)], &[], "side by side"),
            (&[("a", 3, 4), ("b", 4, 8)], &[], "the head reads 4, not 8"),
            (
                &[("a", 3, 5), ("b", 5, 4)],
                &["b", "a"],
                "`a` reads 3 values",
            ),
        ] {
            let message = order(modules, given).expect_err(expected).to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
