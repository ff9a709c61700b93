/* base/log.h: one event a line, key=value, to stderr. Any thread; a line is one write(2).
 *
 * error: someone must act; warn: we adapted; info: roles and lifetimes; debug: the rest. The last
 * lines of every level are kept in memory and printed when an assertion fails. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
/* Prefix every line with node=@name (borrowed for ever). */
void log_set_node(const char *name);
/* @format gives "event=x key=value ...": no newline. Values with spaces are quoted by the caller.
 */
void log_event(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_dump_recent(void);

#endif
