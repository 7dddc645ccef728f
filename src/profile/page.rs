use super::Profile;
impl Profile {
    /// stub
    pub fn page(&self) -> String {
        String::new()
    }
}
