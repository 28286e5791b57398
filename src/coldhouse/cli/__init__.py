"""The command line: one file per verb, which reads its options, calls one operation and prints what came of it.

    main.py         the entry, and the outermost edge: errors, exit statuses, signals
    session.py      one invocation: what was given, the repository and the listener that follow from it
    options.py      options that several verbs share
    parsing.py      values of options: TIME, KEY=VALUE, DB.TABLE:ID, OLD=NEW, HOST:PORT
    config.py       the TOML file
    passphrase.py   where the passphrase comes from
    credentials.py  users and passwords in URLs
    scrub.py        keeps secrets out of what is printed
    documents.py    what --json prints
    output.py       what people read: receipts, tables, sizes
    progress.py     what people see while it works

Nothing heavy is imported before it is needed: ``coldhouse --help`` loads click and this folder alone.
"""
