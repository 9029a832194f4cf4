import { describe, expect, it } from 'vitest';
import {
  printable,
  redactDocument,
  redactReference,
  redactSecrets,
  redactUrl,
  secretsIn,
} from '../src/redact.js';

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
    ['see https://user:w@rd@host/x?q=a@b', 'see https://host/x?q=a@b'],
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

describe('secretsIn', () => {
  it.each<readonly [string, Readonly<Record<string, string>>, readonly string[]]>([
    ['http://user:p%40ssword@proxy:3128', {}, ['p%40ssword', 'p@ssword']],
    ['user:password1@proxy:3128', {}, ['password1']],
    ['https://ghp_token@host/x', {}, ['ghp_token']],
    ['https://host/x?token=a%2Fsecret&download=true&sig=short', {}, ['a%2Fsecret', 'a/secret']],
    ['https://host/api/models?author=OpenVINO', {}, []],
    ['https://host/x', { authorization: 'Bearer the-token', accept: 'anything' }, ['the-token']],
    [
      'https://host/x',
      { Authorization: `Basic ${btoa('user:the password')}` },
      [btoa('user:the password'), 'the password', 'the%20password'],
    ],
    ['https://host/x', { 'x-api-key': 'the-token' }, ['the-token']],
    ['https://host/a@b?q=%E0%A4%A', {}, []],
  ])('%s with %j', (address, headers, expected) => {
    expect(secretsIn(address, headers)).toEqual(expect.arrayContaining([...expected]));
    if (expected.length === 0) expect(secretsIn(address, headers)).toEqual([]);
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
    ['licence\u202e: TIM', 'licence\\u202e: TIM'],
    ['two\nlines,\ttabs and ünïcödé', 'two\nlines,\ttabs and ünïcödé'],
  ])('%j becomes %j', (text, expected) => {
    expect(printable(text)).toBe(expected);
  });
});
