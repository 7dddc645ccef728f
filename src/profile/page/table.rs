//! The table of a profile's call sites as HTML.

use std::fmt::Write;

use crate::html::escape;
use crate::numeric::statistics::figure;
use crate::profile::{Clock, Profile, Site};

/// The columns of text after the site's number.
const TEXTS: [&str; 4] = ["phase", "kernel", "site", "bound by"];
const FIGURES: [&str; 10] = [
    "calls",
    "ms per step",
    "share",
    "median µs",
    "p95 µs",
    "GFLOP/s",
    "GB/s",
    "FLOP/B",
    "of roofline",
    "µs per time step",
];

impl Profile {
    pub(super) fn table(&self) -> String {
        let mut table = String::from("<div class=\"wide\"><table>\n<tr><th>#</th>");
        for name in TEXTS {
            let _ = write!(table, "<th class=\"text\">{name}</th>");
        }
        for name in FIGURES {
            let _ = write!(table, "<th>{name}</th>");
        }
        table += "</tr>\n";
        for (index, site) in self.sites.iter().enumerate() {
            table += &row(index + 1, site);
        }
        table += "</table></div>\n";
        if self.sites.iter().any(|site| site.time.clock == Clock::Host) {
            table += "<p>* timed on the host, one call per submission, minus the time of an empty \
                      submission</p>\n";
        }
        table
    }
}

fn row(number: usize, site: &Site) -> String {
    let mut row = format!("<tr><td>{number}</td>");
    let (time, work) = (&site.time, &site.work);
    let name = match time.clock {
        Clock::Device => site.site.clone(),
        Clock::Host => format!("{}*", site.site),
    };
    for text in [site.phase.name(), &site.kernel, &name, work.bound.name()] {
        let _ = write!(row, "<td class=\"text\">{}</td>", escape(text));
    }
    let share = time.share * 100.0;
    let _ = writeln!(
        row,
        "<td>{}</td><td>{:.3}</td>\
         <td class=\"share\" style=\"--share:{share:.1}%\">{share:.1}%</td>\
         <td>{:.1}</td><td>{:.1}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0}%</td>\
         <td>{}</td></tr>",
        site.calls,
        time.step_us.median / 1e3,
        time.call_us.median,
        time.p95_us,
        figure(site.gflops()),
        figure(site.gbytes_per_s()),
        figure(site.intensity()),
        work.roofline * 100.0,
        time.time_step_us.map(figure).unwrap_or_default(),
    );
    row
}
