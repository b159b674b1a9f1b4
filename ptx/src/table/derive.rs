//! What a section's rows become: an enum with a variant a row, the rows as data, and a trait with a method a row.

/// Writes a section. Rows read
/// `method = Variant "name" | "alias" "section" { "form" since "version targets" where "rule" condition, ..; .. }`.
macro_rules! section {
    (
        $(#[$section_doc:meta])*
        $section:ident, $exec:ident;
        $(
            $(#[$doc:meta])*
            $method:ident = $variant:ident $name:literal $(| $alias:literal)* $manual:literal {
                $($form:literal since $since:literal $(where $($rule:literal $holds:expr),+)?;)+
            }
        )*
    ) => {
        $(#[$section_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $section { $($(#[$doc])* $variant,)* }

        /// A method for every row of the section.
        pub trait $exec {
            /// What a method gives.
            type Output;
            $($(#[$doc])* fn $method(&mut self, instruction: &$crate::instruction::Instruction) -> Self::Output;)*
        }

        impl $section {
            pub(super) fn dispatch<E: $exec + ?Sized>(
                self,
                exec: &mut E,
                instruction: &$crate::instruction::Instruction,
            ) -> E::Output {
                match self { $(Self::$variant => exec.$method(instruction),)* }
            }
        }

        pub(super) const ROWS: &[$crate::table::RowText] = &[$($crate::table::RowText {
            opcode: $crate::table::Opcode::$section($section::$variant),
            name: $name,
            aliases: &[$($alias),*],
            section: $manual,
            forms: &[$($crate::table::FormText {
                text: $form,
                since: $since,
                rules: &[$($($crate::table::Rule { text: $rule, holds: $holds }),+)?],
            }),+],
        },)*];
    };
}
