import { describe, expect, it } from 'vitest';
import { printable, redactDocument, redactReference, redactSecrets, redactUrl } from '../src/redact.js';

describe('redactUrl', () => {
  it.each([
    ['https://u:p@host/a.onnx?X-Amz-Signature=abc&plain=1', 'https://host/a.onnx'],
    ['https://host/a%20b.onnx', 'https://host/a%20b.onnx'],
    ['not an address', 'not an address'],
  ])('%s becomes %s', (url, expected) => {
    expect(redactUrl(url)).toBe(expected);
  });
});

describe('redactReference', () => {
  it.each([
    ['https://host/a.onnx?sig=abc#sha256=00', 'https://host/a.onnx#sha256=00'],
    ['hf:org/name@main', 'hf:org/name@main'],
    ['./what?.onnx', './what?.onnx'],
    ['htps://host/a.onnx?key=abc#unpack', 'htps://host/a.onnx#unpack'],
    ['url:https://me:word@host/a.onnx?key=abc', 'url:https://host/a.onnx'],
    [' https://host/a.onnx?key=abc', ' https://host/a.onnx'],
    ['https://?key=abc', 'https://'],
  ])('%s becomes %s', (text, expected) => {
    expect(redactReference(text)).toBe(expected);
  });
});

describe('redactSecrets', () => {
  it.each([
    ['token hf_abcdefghijklmnopqrst leaked', 'token *** leaked'],
    ['Authorization: Bearer abcdefghijkl', 'Authorization: Bearer ***'],
    ['see https://user:word@host/x', 'see https://host/x'],
    ['GET /x?a=1&X-Amz-Signature=ff00 failed', 'GET /x?a=1&X-Amz-Signature=*** failed'],
    [
      'no such object /s?X-Goog-Signature=ff00&X-Goog-Credential=me',
      'no such object /s?X-Goog-Signature=***&X-Goog-Credential=***',
    ],
    ['an ordinary sentence about tokens', 'an ordinary sentence about tokens'],
  ])('%s becomes %s', (text, expected) => {
    expect(redactSecrets(text)).toBe(expected);
  });

  it('takes out the secrets it is given', () => {
    expect(redactSecrets('password correct-horse', ['correct-horse'])).toBe('password ***');
  });
});

describe('redactDocument', () => {
  it('takes secrets out of what is said, and leaves names as they are', () => {
    const name = 'hf_sentencetransformers.onnx';
    const document = {
      message: 'token hf_abcdefghijklmnopqrst',
      path: name,
      log: ['https://user:word@host/x', { file: name, bytes: 3, none: null }],
    };
    expect(redactDocument(document)).toEqual({
      message: 'token ***',
      path: name,
      log: ['https://host/x', { file: name, bytes: 3, none: null }],
    });
  });
});

describe('printable', () => {
  it.each([
    ['\u001b[2Jcleared', '\\x1b[2Jcleared'],
    ['over\rwritten', 'over\\x0dwritten'],
    ['a title\u0007 and an 8-bit escape \u009b31m', 'a title\\x07 and an 8-bit escape \\x9b31m'],
    ['two\nlines,\ttabs and ünïcödé', 'two\nlines,\ttabs and ünïcödé'],
  ])('%j becomes %j', (text, expected) => {
    expect(printable(text)).toBe(expected);
  });
});
