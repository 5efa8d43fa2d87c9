"""Great Expectations: suites read or inferred, tables validated by column or in their database, results as a page.

suite        a suite from a JSON file, or inferred from a table
table        rows of several splits, by column, without copying them
validation   validate(table, suite), and what is broken
by_column    the pandas engine, one column at a time
in_database  the SQL engine, for tables that live in a database
page         the results as an offline HTML page
"""
