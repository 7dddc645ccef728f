//! The roofline of a profile (Williams et al., 2009) as SVG.

use crate::html::chart::{Axis, bounds};
use crate::html::{escape, trimmed};
use crate::numeric::statistics::figure;
use crate::profile::{Profile, Site};

/// The size of the drawing and the edges of the plot in it.
const SIZE: [f64; 2] = [760.0, 440.0];
const LEFT: f64 = 58.0;
const RIGHT: f64 = 744.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 396.0;

/// The axes and ceilings of a roofline.
struct Roofline {
    /// Floating-point operations per byte.
    intensity: Axis,
    gflops: Axis,
    peak_gflops: f64,
    bandwidth_gbytes_per_s: f64,
}

impl Profile {
    /// Draws the roofline: the device's ceilings, and a circle for each call site that computes.
    pub(super) fn roofline(&self) -> String {
        let sites = self.sites.iter().enumerate();
        let sites: Vec<(usize, &Site)> = sites.filter(|(_, site)| site.gflops() > 0.0).collect();
        let roofline = Roofline::new(self, &sites);
        let circles: String = sites
            .iter()
            .map(|(index, site)| roofline.circle(index + 1, site))
            .collect();
        let [width, height] = SIZE;
        format!(
            "<div class=\"wide\"><svg class=\"roofline\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" aria-label=\"Roofline\">\n{}{}{circles}{}</svg></div>",
            roofline.grid(),
            roofline.roof(),
            axis_names(),
        )
    }
}

impl Roofline {
    /// The axes span whole decades around the sites and the ridge.
    fn new(profile: &Profile, sites: &[(usize, &Site)]) -> Roofline {
        let peak_gflops = profile.ceilings.multiply_add_gflops.best;
        let bandwidth_gbytes_per_s = profile.ceilings.copy_gbytes_per_s.best;
        let ridge = peak_gflops / bandwidth_gbytes_per_s;
        let of_sites = |value: fn(&Site) -> f64| sites.iter().map(move |(_, site)| value(site));
        let intensity = bounds(of_sites(Site::intensity).chain([ridge, ridge * 4.0]));
        let gflops = bounds(of_sites(Site::gflops).chain([peak_gflops * 1.1]));
        Roofline {
            intensity: Axis::decades(intensity).between(LEFT, RIGHT),
            gflops: Axis::decades(gflops).between(BOTTOM, TOP),
            peak_gflops,
            bandwidth_gbytes_per_s,
        }
    }

    fn grid(&self) -> String {
        let vertical = self.intensity.x_grid(TOP, BOTTOM, trimmed);
        vertical + &self.gflops.y_grid(LEFT, RIGHT, trimmed)
    }

    /// The slope of the memory bandwidth and the line of the peak, with their labels.
    fn roof(&self) -> String {
        let (peak, bandwidth) = (self.peak_gflops, self.bandwidth_gbytes_per_s);
        let ridge = peak / bandwidth;
        // The slope begins at the left or lower edge of the plot.
        let start = self.intensity.low().max(self.gflops.low() / bandwidth);
        let middle = (start * ridge).sqrt();
        let [x, middle_x, ridge_x] = [start, middle, ridge].map(|at| self.intensity.at(at));
        let [y, middle_y, peak_y] =
            [start * bandwidth, middle * bandwidth, peak].map(|at| self.gflops.at(at));
        format!(
            "<path class=\"roof\" d=\"M{x:.1} {y:.1}L{ridge_x:.1} {peak_y:.1}H{RIGHT}\"/>\
             <text x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">{} GFLOP/s</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} GB/s</text>\n",
            peak_y - 6.0,
            figure(peak),
            middle_x - 8.0,
            middle_y - 6.0,
            figure(bandwidth),
        )
    }

    /// The circle of a site, with its number in the table; the area is the site's share of the
    /// time.
    fn circle(&self, number: usize, site: &Site) -> String {
        let (x, y) = (
            self.intensity.at(site.intensity()),
            self.gflops.at(site.gflops()),
        );
        let radius = 3.5 + 22.0 * site.time.share.sqrt();
        let title = format!(
            "{number} {}: {} GFLOP/s, {:.0}% of its roofline",
            escape(&site.label()),
            figure(site.gflops()),
            site.work.roofline * 100.0
        );
        format!(
            "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\">\
             <title>{title}</title></circle>\
             <text class=\"number\" x=\"{:.1}\" y=\"{:.1}\">{number}</text>\n",
            site.phase.name(),
            x + radius + 2.0,
            y + 4.0,
        )
    }
}

fn axis_names() -> String {
    format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">floating-point operations per byte\
         </text>\
         <text transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">GFLOP/s\
         </text>\n",
        (LEFT + RIGHT) / 2.0,
        SIZE[1] - 8.0,
        (TOP + BOTTOM) / 2.0,
    )
}
